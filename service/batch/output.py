"""The finished output of a job: CSV, JSON lines or Parquet, whole or not at all.

In: the rows of a journal. Out: a file under its own name, made beside it, flushed and renamed. Knows nothing
of how the rows came about.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from service.batch.columns import cells_of_lines, columns, plain_cells, told_cells
from service.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from service.batch.journal import Journal
    from service.batch.row import Row


class Form(StrEnum):
    """What rows can be written as."""

    BARS = "bars"
    TABLE = "table"
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


FILES = (Form.CSV, Form.JSONL, Form.PARQUET)
_SUFFIXES = {".csv": Form.CSV, ".jsonl": Form.JSONL, ".ndjson": Form.JSONL, ".parquet": Form.PARQUET}
_GROUP_ROWS = 1 << 16
_COPY_BYTES = 1 << 20


def form_of(out: Path) -> Form:
    """Choose by a file's name. Raises OutputError."""
    form = _SUFFIXES.get(out.suffix.lower())
    if form is None:
        raise OutputError(f"{out} could be anything: name it .csv, .jsonl or .parquet, or say --format")
    return form


def publish(journal: Journal[Row], out: Path, form: Form, top_k: int, *, has_labels: bool) -> None:
    """Write the output, and remove the journal once it is in its place.

    Raises:
        OutputError: the disk is full, or the folder cannot be written; the journal stays.
    """
    write = _WRITERS[form]
    unfinished = out.with_name(f".{out.name}.new")  # one name: what a killed process leaves is written over
    try:
        with unfinished.open("wb") as file:
            write(journal, file, top_k, has_labels)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(out)
        sync_folder(out.parent)
        journal.remove()
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise OutputError(
            f"{out} cannot be written: {error.strerror}; all rows are in {journal.path}, and --resume makes "
            "the output from them"
        ) from error


def sync_folder(folder: Path) -> None:
    """Have the new name on the disk before the journal is gone from there."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def csv_line(values: list[Any]) -> str:
    """Write cells as a line of CSV, RFC 4180 but for its end, which is a line feed."""
    line = io.StringIO()
    shown = [f"{value:.9g}" if isinstance(value, float) else value for value in values]
    csv.writer(line, lineterminator="\n").writerow(shown)
    return line.getvalue()


def _write_csv(journal: Journal[Row], file: BinaryIO, top_k: int, has_labels: bool) -> None:  # noqa: FBT001
    text = io.TextIOWrapper(file, "utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns(top_k, has_labels=has_labels))
    plain = plain_cells(top_k)
    for line in journal.lines():
        match = plain(line)
        if match is None:
            writer.writerow(told_cells(line, top_k, has_labels=has_labels))
        else:  # as the writer would, in a small part of the time
            *found, label = match.groups("")
            text.write(f"{','.join(found)},,{',' + label if has_labels else ''}\n")
    text.detach()


def _write_jsonl(journal: Journal[Row], file: BinaryIO, top_k: int, has_labels: bool) -> None:  # noqa: ARG001, FBT001
    """Copy them: the journal has them in this very form."""
    with journal.path.open("rb") as rows:
        shutil.copyfileobj(journal.skip_head(rows), file, _COPY_BYTES)


def _write_parquet(journal: Journal[Row], file: BinaryIO, top_k: int, has_labels: bool) -> None:  # noqa: FBT001
    pa, pq = parquet()
    names = columns(top_k, has_labels=has_labels)
    schema, texts = schema_of(names), pa.schema([(name, pa.string()) for name in names])
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(cells_of_lines(journal.lines(), top_k, has_labels=has_labels)):
            writer.write_table(table_of(group, texts).cast(schema))


def schema_of(names: list[str]) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Say which kinds of cells the columns of a Parquet file have. Raises OutputError."""
    pa, _ = parquet()
    kinds = {"index": pa.int64(), "probability": pa.float32()}
    return pa.schema([(name, kinds.get(name.partition("_")[0], pa.string())) for name in names])


def table_of(rows: Sequence[Sequence[Any]], schema: Any) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Make a table of pyarrow from the cells of rows. Raises OutputError."""
    pa, _ = parquet()
    cells_by_column = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(values, kind) for values, kind in zip(cells_by_column, schema.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def parquet() -> tuple[Any, Any]:
    """Return pyarrow and its Parquet. Raises OutputError where the extra is not installed."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise OutputError(
            f"Parquet needs the extra batch ({error}): pip install 'cifar10net[batch]'"
        ) from error
    return pa, pq


def _groups(rows: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    group: list[Sequence[Any]] = []
    for row in rows:
        group.append(row)
        if len(group) == _GROUP_ROWS:
            yield group
            group = []
    if group:
        yield group


_WRITERS: dict[Form, Callable[[Journal[Row], BinaryIO, int, bool], None]] = {
    Form.CSV: _write_csv,
    Form.JSONL: _write_jsonl,
    Form.PARQUET: _write_parquet,
}
