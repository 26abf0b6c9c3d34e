"""Lists of inputs: a path or URL a line, JSON lines, or CSV, from a file or from standard input.

Empty lines are skipped. Relative paths are relative to the working directory.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.batch.item import MOST_BYTES, printable
from service.batch.sources.places import is_url, item_at, open_file
from service.batch.sources.records import input_column, item_of, unreadable_item
from service.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from service.batch.item import Item
    from service.batch.sources.source import Columns

STDIN = "-"
_LONGEST_LINE = 2 * MOST_BYTES  # an image in base64, and the record around it
_PIECE_BYTES = 1 << 20


class List:
    """A path or URL a line, or JSON a line: an object or a string.

    On standard input, ``-``, lines that start with { or " are JSON.
    """

    def __init__(self, place: str, columns: Columns, *, is_json: bool) -> None:
        """Check that the file can be opened. Raises SourceError."""
        self._place = place
        self._name = "stdin" if place == STDIN else printable(place)
        self._columns = columns
        self._is_json = is_json
        if place != STDIN:
            open_file(place).close()

    def items(self, names_only: int = 0) -> Iterator[Item]:  # noqa: ARG002 - all lines are read
        for number, line in enumerate(lines(self._place, self._name), 1):
            text = line.decode("utf-8", "surrogateescape").strip("\r\n")
            if text.strip():
                yield self._item(text, number)

    def count(self) -> int | None:
        return None if self._place == STDIN or is_url(self._place) else _count_lines(self._place)

    def _item(self, text: str, number: int) -> Item:
        has_json = self._is_json or (self._place == STDIN and text[0] in '{"')
        if not has_json:
            return item_at(text)
        name = f"{self._name}#{number}"
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            return unreadable_item(name, f"the line is not JSON: {printable(str(error))}")
        if isinstance(record, str):
            return item_at(record)
        if isinstance(record, dict):
            return item_of(record, self._columns, name)
        kind = type(record).__name__
        return unreadable_item(name, f"the line is a JSON {kind}, wanted an object or a string")


class Csv:
    """A CSV file whose first line names the columns."""

    def __init__(self, place: str, columns: Columns) -> None:
        self._place = place
        self._name = printable(place)
        self._columns = columns
        with _text(place) as text:
            self._reader(text)

    def items(self, names_only: int = 0) -> Iterator[Item]:  # noqa: ARG002 - all lines are read
        with _text(self._place) as text:
            reader, column = self._reader(text)
            label = self._columns.label
            try:
                for record in reader:
                    place = record[column]
                    if place:
                        yield item_at(place, None if label is None else record[label] or None)
                    else:
                        name = f"{self._name}#{reader.line_num}"
                        yield unreadable_item(name, f"the line has no {column!r}")
            except csv.Error as error:
                raise SourceError(f"{self._name} is damaged at line {reader.line_num}: {error}") from error

    def count(self) -> None:
        return None

    def _reader(self, text: TextIO) -> tuple[csv.DictReader[str], str]:
        reader = csv.DictReader(text)
        column = input_column(reader.fieldnames or (), self._columns, self._name)
        return reader, column


def _text(place: str) -> TextIO:
    return io.TextIOWrapper(open_file(place), "utf-8-sig", errors="surrogateescape", newline="")


def lines(place: str, name: str) -> Iterator[bytes]:
    """Yield the lines of a file or of standard input. Raises SourceError."""
    file: Any = _standard_input() if place == STDIN else open_file(place)
    try:
        is_first = True
        while line := file.readline(_LONGEST_LINE):
            if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
                raise SourceError(f"{name} has a line of more than {_LONGEST_LINE:,} bytes")
            yield line.removeprefix(codecs.BOM_UTF8) if is_first else line
            is_first = False
    except OSError as error:
        raise SourceError(f"{name} cannot be read: {error}") from error
    finally:
        if place != STDIN:
            file.close()


def _count_lines(path: str) -> int | None:
    """Count the lines, empty ones too: close enough for a progress bar."""
    try:
        with Path(path).open("rb", buffering=0) as file:
            return sum(piece.count(b"\n") for piece in iter(lambda: file.read(_PIECE_BYTES), b""))
    except OSError:
        return None


def _standard_input() -> Any:  # noqa: ANN401 - as open_file
    """Open it again: Python aborts at its exit if a thread still reads ``sys.stdin``."""
    try:
        number = sys.stdin.fileno()
    except OSError:  # not a file, as in tests
        return sys.stdin.buffer
    return os.fdopen(number, "rb", closefd=False)
