"""A part of a job's output: the rows of one share, as a Parquet file.

In: a share, and its rows. Out: a file that is whole or not there, and the receipt that says what is in it.
The same share gives the same file, whoever writes it and how often. Knows nothing of the other parts.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from service.batch.columns import cells, columns
from service.batch.output import parquet, schema_of, sync_folder, table_of
from service.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from service.batch.ray.shards import Share
    from service.batch.row import Row

INDEX = "index"
"""The column beside those of other outputs: by it rows have the order of the inputs."""


class Receipt(NamedTuple):
    """What became of a share, or that a unit has no more of them."""

    unit: int
    number: int
    """Of the share; of the share that would come next, if there is none."""
    file: str = ""
    """Empty: the unit ends here."""
    rows: int = 0
    first: int = 0
    bytes: int = 0
    sha256: str = ""
    names: str = ""
    """Digest of what the inputs are called."""
    counts: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it
    """As of ``Tally.counts``."""


def to_line(receipt: Receipt) -> str:
    """Write a receipt as JSON, without the end of the line."""
    return json.dumps(receipt._asdict(), ensure_ascii=False)


def from_line(line: str | bytes) -> Receipt:
    """Read such a line. Raises ValueError: it is none."""
    try:
        receipt = Receipt(**json.loads(line))
    except TypeError as error:
        raise ValueError(f"no receipt: {line[:80]!r}") from error
    if not isinstance(receipt.unit, int) or not isinstance(receipt.number, int):
        raise ValueError(f"no receipt: {line[:80]!r}")  # noqa: TRY004 - as of a line that is no JSON
    return receipt


def names_of(top_k: int, *, has_labels: bool) -> list[str]:
    """Name the columns."""
    return [INDEX, *columns(top_k, has_labels=has_labels)]


def write(folder: Path, share: Share, rows: Sequence[Row], top_k: int, *, has_labels: bool) -> Receipt:
    """Write a part.

    Args:
        folder: of the parts.
        share: whose rows they are.
        rows: one for each input of it.
        top_k: classes of a row.
        has_labels: whether there is a column for what the input is.

    Returns:
        The receipt, without counts.

    Raises:
        OutputError: the disk is full, the folder is not there, or cannot be written.
    """
    _, pq = parquet()
    numbered = [
        [share.first + place, *cells(row, top_k, has_labels=has_labels)] for place, row in enumerate(rows)
    ]
    content = io.BytesIO()
    schema = schema_of(names_of(top_k, has_labels=has_labels))
    pq.write_table(table_of(numbered, schema), content, compression="zstd")
    data = content.getvalue()
    name = f"part-{share.unit:06}-{share.number:06}.parquet"
    _put(folder / name, data)
    digest = hashlib.sha256(data).hexdigest()
    return Receipt(share.unit, share.number, name, len(rows), share.first, len(data), digest, share.names)


def _put(path: Path, data: bytes) -> None:
    """Have a file appear whole; two that write the same do not meet."""
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with unfinished.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise OutputError(
            f"{path} cannot be written on {os.uname().nodename}: {error.strerror}; all machines have to "
            "see the folder of --out"
        ) from error
