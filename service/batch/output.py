"""The output file of a job: CSV, JSON lines or Parquet, complete or not there at all.

It is written from the journal under another name, flushed to the disk, and renamed.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Any

from service.batch.columns import column_names, plain_line_matcher, values_of_line, values_of_lines
from service.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from service.batch.journal import Journal
    from service.batch.row import Row


class OutputFormat(StrEnum):
    """Formats of rows."""

    BARS = "bars"
    TABLE = "table"
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


_SUFFIXES = {
    ".csv": OutputFormat.CSV,
    ".jsonl": OutputFormat.JSONL,
    ".ndjson": OutputFormat.JSONL,
    ".parquet": OutputFormat.PARQUET,
}
_GROUP_ROWS = 1 << 16
_COPY_BYTES = 1 << 20


def format_of(out: Path) -> OutputFormat:
    """Choose the format by a file's name. Raises OutputError."""
    found = _SUFFIXES.get(out.suffix.lower())
    if found is None:
        raise OutputError(f"{out} has no known suffix: name it .csv, .jsonl or .parquet, or give --format")
    return found


def publish(
    journal: Journal[Row], out: Path, output_format: OutputFormat, top_k: int, *, has_labels: bool
) -> None:
    """Write the output, and then remove the journal.

    Raises:
        OutputError: the disk is full, or the folder cannot be written; the journal stays.
    """
    unfinished = out.with_name(f".{out.name}.new")  # always the same, to overwrite what a killed process left
    try:
        with complete_file(out, unfinished) as file:
            _WRITERS[output_format](journal, file, top_k, has_labels)
        journal.remove()
    except OSError as error:
        raise OutputError(
            f"{out} cannot be written: {error.strerror}; all rows are in {journal.path}, and --resume makes "
            "the output of them"
        ) from error


@contextlib.contextmanager
def complete_file(path: Path, unfinished: Path) -> Iterator[BinaryIO]:
    """Write a file as ``unfinished``, and rename it once it is complete and on the disk. Raises OSError."""
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        sync_folder(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk: the output must be there before the journal is removed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def csv_line(values: list[Any]) -> str:
    """Write values as a line of CSV: RFC 4180, but ended by a line feed."""
    line = io.StringIO()
    shown = [f"{value:.9g}" if isinstance(value, float) else value for value in values]
    csv.writer(line, lineterminator="\n").writerow(shown)
    return line.getvalue()


def _write_csv(journal: Journal[Row], file: BinaryIO, top_k: int, has_labels: bool) -> None:  # noqa: FBT001
    text = io.TextIOWrapper(file, "utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(column_names(top_k, has_labels=has_labels))
    match_plain = plain_line_matcher(top_k)
    for line in journal.lines():
        match = match_plain(line)
        if match is None:
            writer.writerow(values_of_line(line, top_k, has_labels=has_labels))
        else:  # the same as the writer, in a fraction of the time
            *values, label = match.groups("")
            text.write(f"{','.join(values)},,{',' + label if has_labels else ''}\n")
    text.detach()


def _write_jsonl(journal: Journal[Row], file: BinaryIO, top_k: int, has_labels: bool) -> None:  # noqa: ARG001, FBT001
    """Copy all lines but the first, which identifies the job."""
    with journal.path.open("rb") as lines:
        lines.readline()
        shutil.copyfileobj(lines, file, _COPY_BYTES)


def _write_parquet(journal: Journal[Row], file: BinaryIO, top_k: int, has_labels: bool) -> None:  # noqa: FBT001
    pa, pq = import_pyarrow()
    names = column_names(top_k, has_labels=has_labels)
    schema, texts = schema_of(names), pa.schema([(name, pa.string()) for name in names])
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        rows = values_of_lines(journal.lines(), top_k, has_labels=has_labels)
        while group := list(islice(rows, _GROUP_ROWS)):
            writer.write_table(table_of(group, texts).cast(schema))


def schema_of(names: list[str]) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Make the schema of a Parquet file from its column names. Raises OutputError."""
    pa, _ = import_pyarrow()
    kinds = {"index": pa.int64(), "probability": pa.float32()}
    return pa.schema([(name, kinds.get(name.partition("_")[0], pa.string())) for name in names])


def table_of(rows: Sequence[Sequence[Any]], schema: Any) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Make a pyarrow table from the values of rows. Raises OutputError."""
    pa, _ = import_pyarrow()
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(values, kind) for values, kind in zip(columns, schema.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def import_pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and pyarrow.parquet. Raises OutputError if the extra is not installed."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise OutputError(
            f"Parquet needs the extra batch ({error}): pip install 'cifar10net[batch]'"
        ) from error
    return pa, pq


_WRITERS: dict[OutputFormat, Callable[[Journal[Row], BinaryIO, int, bool], None]] = {
    OutputFormat.CSV: _write_csv,
    OutputFormat.JSONL: _write_jsonl,
    OutputFormat.PARQUET: _write_parquet,
}
