"""Find the fields of a message, and of the messages in it, that are not set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message


def unset_fields(message: Message) -> set[str]:
    """Return the full names of the fields that are set nowhere in a message."""
    return set(_fields(message.DESCRIPTOR)) - set(_set_fields(message))


def _fields(kind: Any) -> Iterator[str]:
    for field in kind.fields:
        yield field.full_name
        if _has_fields(field):
            yield from _fields(field.message_type)


def _set_fields(message: Message) -> Iterator[str]:
    for field, value in message.ListFields():
        yield field.full_name
        if _has_fields(field):
            for each in value if field.is_repeated else [value]:
                yield from _set_fields(each)


def _has_fields(field: Any) -> bool:
    return bool(field.message_type) and not field.message_type.GetOptions().map_entry
