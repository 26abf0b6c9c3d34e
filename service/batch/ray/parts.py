"""Parts of a job's output: the rows of one shard, as a Parquet file, and its receipt.

A file is complete or not there at all. The same shard always gives the same file.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from service.batch.columns import column_names, values_of
from service.batch.output import complete_file, import_pyarrow, schema_of, table_of
from service.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from service.batch.ray.shards import Shard
    from service.batch.row import Row

INDEX = "index"
"""Name of the first column, which other outputs lack: the order of the inputs."""


class Receipt(NamedTuple):
    """A part that was written; or, without a file, the number of shards of a unit."""

    unit: int
    number: int
    """Of the shard within the unit; without a file, the number of shards."""
    file: str = ""
    """Empty for the end of a unit."""
    rows: int = 0
    first: int = 0
    bytes: int = 0
    sha256: str = ""
    names: str = ""
    """Digest of the names of the inputs."""
    counts: dict[str, Any] = {}  # noqa: RUF012 - never changed
    """As of ``JobSummary.counts``."""


def to_line(receipt: Receipt) -> str:
    """Write a receipt as JSON, without a line end."""
    return json.dumps(receipt._asdict(), ensure_ascii=False)


def from_line(line: str | bytes) -> Receipt:
    """Read such a line. Raises ValueError if it is not one."""
    try:
        receipt = Receipt(**json.loads(line))
    except TypeError as error:
        raise ValueError(f"not a receipt: {line[:80]!r}") from error
    if not isinstance(receipt.unit, int) or not isinstance(receipt.number, int):
        raise ValueError(f"not a receipt: {line[:80]!r}")  # noqa: TRY004 - as for a line that is not JSON
    return receipt


def column_names_of(top_k: int, *, has_labels: bool) -> list[str]:
    """Return the names of the columns."""
    return [INDEX, *column_names(top_k, has_labels=has_labels)]


def write(folder: Path, shard: Shard, rows: Sequence[Row], top_k: int, *, has_labels: bool) -> Receipt:
    """Write the part of a shard, and return its receipt, without counts.

    Raises:
        OutputError: the disk is full, or the folder is missing or cannot be written.
    """
    _, pq = import_pyarrow()
    numbered = [
        [shard.first + place, *values_of(row, top_k, has_labels=has_labels)] for place, row in enumerate(rows)
    ]
    content = io.BytesIO()
    schema = schema_of(column_names_of(top_k, has_labels=has_labels))
    pq.write_table(table_of(numbered, schema), content, compression="zstd")
    data = content.getvalue()
    name = f"part-{shard.unit:06}-{shard.number:06}.parquet"
    try:
        # Two workers may write the same part at a time.
        with complete_file(folder / name, folder / f".{name}.{uuid.uuid4().hex}") as file:
            file.write(data)
    except OSError as error:
        raise OutputError(
            f"{folder / name} cannot be written on {os.uname().nodename}: {error.strerror}; all machines "
            "have to share the folder of --out"
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    return Receipt(shard.unit, shard.number, name, len(rows), shard.first, len(data), digest, shard.names)
