"""Single files, folders and patterns, local or behind URLs.

Folders are walked in the order of names; in memory are the names of one folder and of those above it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from service.batch.item import printable
from service.batch.sources.places import is_url, item_at, remote
from service.batch.sources.selection import Selection, is_pattern
from service.batch.sources.source import items_of, total
from service.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.batch.item import Item
    from service.batch.sources.source import Source


class File:
    """One picture."""

    def __init__(self, place: str) -> None:
        self._place = place

    def items(self, names_only: int = 0) -> Iterator[Item]:  # noqa: ARG002 - lists names only
        yield item_at(self._place)

    def count(self) -> int:
        return 1


class Folder:
    """All pictures in a folder and its subfolders."""

    def __init__(self, place: str) -> None:
        self._place = place.rstrip("/") or "/"

    def items(self, names_only: int = 0) -> Iterator[Item]:  # noqa: ARG002 - lists names only
        return map(item_at, walk(self._place, Selection()))

    def count(self) -> int:
        return sum(1 for _ in walk(self._place, Selection()))


class Pattern:
    """All files that match a pattern; archives, tables and lists among them are read as such."""

    def __init__(self, text: str, open_file: Callable[[str], Source]) -> None:
        """Parse a pattern with ``/`` between folders; ``open_file`` makes the source of one file."""
        self._text = text
        self._folder, self._selection = _split(text)
        self._open = open_file

    def items(self, names_only: int = 0) -> Iterator[Item]:
        return items_of(map(self._open, self.places()), names_only)

    def count(self) -> int | None:
        return total(map(self._open, self.places()))

    def places(self) -> Iterator[str]:
        """Yield the files that match. Raises SourceError if there is none."""
        is_empty = True
        for place in walk(self._folder, self._selection):
            is_empty = False
            yield place
        if is_empty:
            raise SourceError(f"no file matches {printable(self._text)}")


def walk(folder: str, selection: Selection) -> Iterator[str]:
    """Yield the selected files in the order of names, those of a subfolder at its name.

    Links to files are followed; links to folders are not, as they may form a cycle.

    Raises:
        SourceError: a folder cannot be read.
    """
    yield from _walk(folder, "", 0, selection)


def _walk(folder: str, inner: str, depth: int, selection: Selection) -> Iterator[str]:
    for name, is_folder in _entries(folder):
        place = f"{folder}{name}" if folder in {"", "/"} else f"{folder}/{name}"
        if not is_folder:
            if selection.matches(inner + name):
                yield place
        elif not name.startswith(".") and (selection.depth is None or depth < selection.depth):
            yield from _walk(place, f"{inner}{name}/", depth + 1, selection)


def _entries(folder: str) -> Iterator[tuple[str, bool]]:
    if is_url(folder):
        yield from remote().entries(folder)
        return
    try:
        with os.scandir(folder or ".") as found:
            names = sorted(
                (entry.name, entry.is_dir(follow_symlinks=False)) for entry in found if _is_listed(entry)
            )
    except OSError as error:
        raise SourceError(
            f"the folder {printable(folder or '.')} cannot be read: {error.strerror}"
        ) from error
    yield from names


def _is_listed(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file() or entry.is_dir(follow_symlinks=False)
    except OSError:  # such as a link to itself: an input that cannot be read, with an error of its own
        return True


def _split(text: str) -> tuple[str, Selection]:
    """Split a pattern into the folder above it and the selection below."""
    parts = text.split("/")
    fixed = next(index for index, part in enumerate(parts) if is_pattern(part))
    folder = "/".join(parts[:fixed])
    if not folder and text.startswith("/"):
        folder = "/"
    return folder, Selection("/".join(parts[fixed:]))
