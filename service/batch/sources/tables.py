"""Parquet files with images, or with paths or URLs of images.

Images are binary, or Hugging Face's struct of ``bytes`` and ``path``, whose class names are in the file's
metadata. A row that holds its image is named FILE#NUMBER.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from service.batch.item import Item, ReadMode, printable, unreadable
from service.batch.sources.places import item_at, open_file
from service.batch.sources.records import bytes_or_place, input_column, unreadable_item
from service.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.batch.sources.source import Columns

_ROWS_AT_ONCE = 64


class Parquet:
    """One Parquet file."""

    def __init__(self, place: str, columns: Columns) -> None:
        """Check the columns of the file. Raises SourceError."""
        self._place = place
        self._name = printable(place)
        with open_file(place) as file:
            table = self._open(file)
            schema = table.schema_arrow
            self._rows = int(table.metadata.num_rows)
        self._column = input_column(schema.names, columns, self._name)
        self._label = columns.label
        self._classes = _class_names(schema, self._label)
        kind = schema.field(self._column).type
        self._is_text = _is_text(kind)
        if not self._is_text and not _is_image(kind):
            raise SourceError(
                f"{self._name} has {kind} in the column {self._column!r}, wanted text (paths, URLs), binary "
                "(images) or a struct of bytes and path; name another one by --column"
            )

    def items(self, names_only: int = 0) -> Iterator[Item]:
        with open_file(self._place) as file:
            table, row = self._open(file), 0
            for group in range(table.num_row_groups):
                rows = table.metadata.row_group(group).num_rows
                if not self._is_text and row + rows <= names_only:
                    for number in range(row, row + rows):
                        yield unreadable_item(f"{self._name}#{number}", "")
                else:
                    yield from self._group(table, group, row)
                row += rows

    def count(self) -> int:
        return self._rows

    def _group(self, table: Any, group: int, row: int) -> Iterator[Item]:  # noqa: ANN401 - no types
        wanted = [self._column] if self._label in {None, self._column} else [self._column, self._label]
        try:
            # In this thread: pyarrow's threads would read far ahead of the model.
            for batch in table.iter_batches(_ROWS_AT_ONCE, [group], wanted, use_threads=False):
                column = batch.column(self._column)
                labels = self._labels(batch)
                for index in range(len(column)):
                    yield self._item(column, index, row + index, labels[index])
                row += len(column)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{self._name} is damaged in row group {group}: {error}") from error

    def _labels(self, batch: Any) -> list[str | int | None]:  # noqa: ANN401 - no types
        if self._label is None:
            return [None] * batch.num_rows
        found = batch.column(self._label).to_pylist()
        if self._classes is None:
            return [value if isinstance(value, str | int) else None for value in found]
        return [_class_name(self._classes, value) for value in found]

    def _item(self, column: Any, index: int, row: int, label: str | int | None) -> Item:  # noqa: ANN401 - no types
        name = f"{self._name}#{row}"
        if not self._is_text:
            return Item(name, partial(_image, column[index].as_py), label, ReadMode.IN_MEMORY)
        place = column[index].as_py()
        return item_at(place, label) if place else unreadable_item(name, "the row has no path")

    def _open(self, file: Any) -> Any:  # noqa: ANN401 - no types
        try:
            return pq.ParquetFile(file, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{self._name} is not a Parquet file, or incomplete: {error}") from error


def _image(value: Callable[[], Any]) -> bytes:
    found = value()
    if isinstance(found, dict):
        return bytes_or_place(found.get("bytes"), found.get("path"))
    if found is None:
        raise unreadable("the row has no image")
    return bytes_or_place(bytes(found), None)


def _is_text(kind: Any) -> bool:  # noqa: ANN401 - no types
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_image(kind: Any) -> bool:  # noqa: ANN401 - no types
    if pa.types.is_struct(kind):
        return {kind.field(index).name for index in range(kind.num_fields)} >= {"bytes", "path"}
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _class_names(schema: Any, label: str | None) -> list[str] | None:  # noqa: ANN401 - no types
    """Return the class names of a label column, if Hugging Face's datasets has written them."""
    try:
        metadata = json.loads((schema.metadata or {})[b"huggingface"])
        names = metadata["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def _class_name(names: list[str], index: object) -> str | int | None:
    if isinstance(index, int) and 0 <= index < len(names):
        return names[index]
    return index if isinstance(index, str) else None
