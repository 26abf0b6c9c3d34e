"""Parse request messages without letting a small message take much memory.

A message of many tiny elements takes far more memory and time than its bytes once it is parsed. Where that is
possible, its fields are counted first by their tags and lengths alone. Counting is slower per field than
parsing, so it is limited, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError, Message

from service.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.descriptor import Descriptor

_Message = TypeVar("_Message", bound=Message)
_SMALLEST_ELEMENT = 2  # bytes: its tag and its length
_VARINT, _EIGHT_BYTES, _LENGTH_DELIMITED, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT = 10
_MAX_OTHER_FIELDS = 1_000
"""Besides the elements that are counted; takes about 1 ms."""


def parse(kind: type[_Message], data: bytes) -> _Message:
    """Parse a message. Raises InvalidRequestError."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise _unreadable() from error


def count_elements(data: bytes, path: tuple[int, ...], limit: int) -> int:
    """Count the elements of a repeated field in an encoded message.

    Args:
        data: the message.
        path: the number of the repeated field, after those of the message fields around it.
        limit: counting stops at one more than this.

    Returns:
        At most ``limit + 1``; 0 if the message is too short to exceed the limit.

    Raises:
        InvalidRequestError: the bytes are not a message, or it has more than 1,000 other fields.
    """
    if len(data) <= limit * _SMALLEST_ELEMENT:
        return 0
    return _count(memoryview(data), path, limit, _MAX_OTHER_FIELDS)[0]


def _count(data: memoryview, path: tuple[int, ...], limit: int, others: int) -> tuple[int, int]:
    """Return the number of elements, and how many more other fields may follow."""
    found = 0
    for number, content in _fields(data):
        if number == path[0] and content is not None and len(path) == 1:
            found += 1
            if found > limit:
                break
            continue
        others -= 1
        if others < 0:
            raise _too_many_fields(_MAX_OTHER_FIELDS)
        if number == path[0] and content is not None:
            inner, others = _count(content, path[1:], limit - found, others)
            found += inner
    return found, others


@dataclass(frozen=True)
class FieldLimits:
    """Limits on the fields of a message type, by field number."""

    kind: Descriptor
    max_bytes: Mapping[int, int] = field(default_factory=dict)
    """Encoded length of a field; packed numbers take up to eight times that in memory."""
    nested: Mapping[int, FieldLimits] = field(default_factory=dict)
    """Limits on the messages in a field."""


def check_fields(data: bytes, limits: FieldLimits, max_fields: int) -> None:
    """Refuse an encoded message that would take far more memory than its bytes.

    Args:
        data: the message.
        limits: on its fields.
        max_fields: how many fields it may have, including those of messages under ``limits.nested``.

    Raises:
        InvalidRequestError: there are more, or a field is over its limit, or the bytes are not a message.
    """
    if _fields_left(memoryview(data), limits, max_fields) < 0:
        raise _too_many_fields(max_fields)


def _fields_left(data: memoryview, limits: FieldLimits, left: int) -> int:
    """Return how many more fields may follow this message; negative: it has too many."""
    for number, content in _fields(data):
        left -= 1
        if content is not None:
            max_bytes = limits.max_bytes.get(number)
            if max_bytes is not None and len(content) > max_bytes:
                name = limits.kind.fields_by_number[number].full_name
                raise InvalidRequestError(
                    f"{name} has {len(content):,} bytes, expected at most {max_bytes:,}"
                )
            nested = limits.nested.get(number)
            if nested is not None:
                left = _fields_left(content, nested, left)
        if left < 0:
            break
    return left


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | None]]:
    """Yield the number of each field, and its content if it is length-delimited."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        kind = tag & 7
        if kind == _LENGTH_DELIMITED:
            size, position = _varint(data, position)
            yield tag >> 3, data[position : position + size]
            position += size
            continue
        if kind == _VARINT:
            _, position = _varint(data, position)
        elif kind in {_EIGHT_BYTES, _FOUR_BYTES}:
            position += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise _unreadable()  # groups, which proto3 does not have
        yield tag >> 3, None


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    if position < len(data) and data[position] < 0x80:  # noqa: PLR2004 - the continuation bit
        return data[position], position + 1
    value = 0
    for index in range(_LONGEST_VARINT):
        if position + index >= len(data):
            raise _unreadable()
        byte = data[position + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:  # noqa: PLR2004 - as above
            return value, position + index + 1
    raise _unreadable()


def _too_many_fields(limit: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"the request has more than {limit:,} fields where a few are expected; generate the client from "
        "the server's .proto, with packed repeated numbers"
    )


def _unreadable() -> InvalidRequestError:
    return InvalidRequestError(
        "the bytes are not the method's request message; generate the client from the server's .proto"
    )
