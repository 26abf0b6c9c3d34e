"""The inputs of a job: paths, URLs, patterns and ``-`` become one stream of items, in that order.

The kind of a source follows from its name and from whether it is a folder. All are checked before the job
starts.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from service.batch.sources.files import File, Folder, Pattern
from service.batch.sources.lists import STDIN, Csv, List
from service.batch.sources.places import is_url
from service.batch.sources.selection import Selection, is_pattern
from service.batch.sources.source import Columns, items_of, total
from service.batch.sources.tars import Tar
from service.batch.sources.zips import Zip
from service.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from service.batch.item import Item
    from service.batch.sources.source import Source

FOLDER = "folder"
"""The true label is the name of the folder that contains the image."""
_ZIP = (".zip",)
_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_JSON = (".jsonl", ".ndjson")
_LISTS = (".txt", ".lst", *_JSON)
_MULTIPLE = (*_ZIP, *_TAR, *_LISTS, ".csv", ".parquet")

__all__ = ["FOLDER", "Columns", "Sources"]


class Sources:
    """All sources of a job, one after the other."""

    def __init__(self, places: Sequence[str], column: str | None = None, labels: str | None = None) -> None:
        """Open them.

        Args:
            places: paths, URLs, patterns, ``-``.
            column: of tables and records, the one that holds inputs; None: the first of the usual names.
            labels: ``folder``, or the column that holds the true labels; None: not wanted.

        Raises:
            SourceError: a source is missing or damaged, or needs a package that is not installed.
        """
        self._labels = labels
        columns = Columns(column, None if labels == FOLDER else labels)
        self._places = tuple(places)
        self._sources = [_open(place, columns) for place in places]

    def items(self, names_only: int = 0) -> Iterator[Item]:
        """Yield all inputs; of the first ``names_only``, only the names are used. Raises SourceError."""
        items = items_of(self._sources, names_only)
        if self._labels != FOLDER:
            return items
        return (item._replace(label=_folder(item.source)) for item in items)

    def units(self) -> Iterator[str]:
        """Yield places that can be read independently, and have the same inputs in the same order.

        Archives, tables and lists that match a pattern are a unit each; any other place is one. Raises
        SourceError.
        """
        for place, source in zip(self._places, self._sources, strict=True):
            if isinstance(source, Pattern) and place.lower().endswith(_MULTIPLE):
                yield from source.places()
            else:
                yield place

    def count(self) -> int | None:
        """Count the inputs; None if they would all have to be read. Raises SourceError."""
        return total(self._sources)


def _folder(source: str) -> str | None:
    parts = source.rsplit("/", 2)
    return parts[-2] if len(parts) > 1 else None


def _open(place: str, columns: Columns) -> Source:
    if place == STDIN:
        return List(STDIN, columns, is_json=False)
    within = None if _exists(place) else _within_archive(place)
    if within is not None:
        archive, inner = within
        return _open_file(archive, columns, Selection(inner))
    if is_pattern(place) and not _exists(place):
        return Pattern(place, lambda file: _open_file(file, columns))
    if place.endswith("/") or _is_folder(place):
        return Folder(place)
    return _open_file(place, columns)


def _exists(place: str) -> bool:
    return not is_url(place) and os.path.exists(place)  # noqa: PTH110 - as below


def _is_folder(place: str) -> bool:
    # Not pathlib's is_dir, which raises for names that are too long.
    return not is_url(place) and os.path.isdir(place)  # noqa: PTH112


def _within_archive(place: str) -> tuple[str, str] | None:
    """Split ``photos.zip/summer/*.jpg`` into the archive and the selection within it."""
    parts = place.split("/")
    for index, part in enumerate(parts[:-1], 1):
        archive = "/".join(parts[:index])
        if part.lower().endswith(_ZIP + _TAR) and not is_pattern(archive) and not _is_folder(archive):
            return archive, "/".join(parts[index:]).rstrip("/")
    return None


def _open_file(place: str, columns: Columns, selection: Selection | None = None) -> Source:
    """Open one file, by the suffix of its name."""
    name = place.lower()
    selection = selection or Selection()
    if name.endswith(_ZIP):
        return Zip(place, selection)
    if name.endswith(_TAR):
        return Tar(place, selection)
    if name.endswith(_LISTS):
        return List(place, columns, is_json=name.endswith(_JSON))
    if name.endswith(".csv"):
        return Csv(place, columns)
    if name.endswith(".parquet"):
        return _open_parquet(place, columns)
    return File(place)


def _open_parquet(place: str, columns: Columns) -> Source:
    try:
        from service.batch.sources.tables import Parquet  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise SourceError(
            f"Parquet needs the extra batch ({error}): pip install 'cifar10net[batch]'"
        ) from error
    return Parquet(place, columns)
