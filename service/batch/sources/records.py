"""Makes items of records of JSON, CSV or Parquet, which name an image or hold it."""

from __future__ import annotations

import base64
import binascii
from functools import partial
from typing import TYPE_CHECKING, Any

from service.batch.item import Item, ReadMode, check_size, unreadable
from service.batch.sources.places import item_at
from service.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from service.batch.sources.source import Columns

USUAL = ("image", "img", "bytes", "path", "file", "filename", "file_name", "url", "uri", "source")
"""Usual names of columns with images, paths or URLs, in order of preference."""
_HOLDING = frozenset(USUAL[:3])


def input_column(there: Collection[str], columns: Columns, name: str) -> str:
    """Choose the column that holds inputs. Raises SourceError."""
    if columns.label is not None and columns.label not in there:
        raise SourceError(f"{name} has no column {columns.label!r} for --labels; it has: {_all(there)}")
    if columns.input is not None:
        if columns.input in there:
            return columns.input
        raise SourceError(f"{name} has no column {columns.input!r}; it has: {_all(there)}")
    for usual in USUAL:
        if usual in there:
            return usual
    raise SourceError(
        f"{name} has no column with a usual name ({_all(USUAL)}); it has: {_all(there)}; name it by --column"
    )


def item_of(record: Mapping[str, Any], columns: Columns, name: str) -> Item:
    """Make the item of a record, in which an image is base64.

    ``name`` is for an item that holds its image. A record without an input gives an unreadable item.
    """
    try:
        column = input_column(record.keys(), columns, "the record")
    except SourceError as error:
        return unreadable_item(name, str(error))
    label = record.get(columns.label) if columns.label is not None else None
    value = record[column]
    if isinstance(value, dict):  # as Hugging Face's Image type in JSON
        held = value.get("bytes")
        value, is_held = (value.get("path"), False) if held is None else (held, True)
    else:
        is_held = column in _HOLDING
    if not isinstance(value, str) or not value:
        return unreadable_item(name, f"the record has no string at {column!r}")
    true_label = label if isinstance(label, str | int) and not isinstance(label, bool) else None
    return (
        Item(name, partial(_decode, value), true_label, ReadMode.IN_MEMORY)
        if is_held
        else item_at(value, true_label)
    )


def unreadable_item(name: str, reason: str) -> Item:
    """Make an item whose ``read`` raises ImageError."""
    return Item(name, partial(_refuse, reason))


def _refuse(reason: str) -> bytes:
    raise unreadable(reason)


def _decode(text: str) -> bytes:
    check_size(len(text) * 3 // 4)
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise unreadable(f"its bytes are not base64: {error}") from error


def bytes_or_place(held: bytes | None, place: str | None) -> bytes:
    """Return the image that a row holds or names. Raises ImageError."""
    if held is not None:
        check_size(len(held))
        return held
    if not place:
        raise unreadable("the row has neither bytes nor a path")
    return item_at(place).read()


def _all(names: Collection[str]) -> str:
    return ", ".join(names) or "none"
