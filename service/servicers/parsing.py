"""Bytes from outside become a message, or an error that is the sender's.

A message of many small parts takes far more memory and time than its bytes: where that can be, its fields are
looked at first, by their heads alone. That is slower a field than parsing, so there is an end to it too.
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
_SMALLEST_PART = 2  # bytes: its tag and its length
_VARINT, _EIGHT_BYTES, _LENGTH_DELIMITED, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT = 10
_MOST_OTHER_FIELDS = 1_000
"""Beside those that are counted; about 1 ms."""


def parse(kind: type[_Message], data: bytes) -> _Message:
    """Parse a message.

    Raises:
        InvalidRequestError: the bytes are none of that kind.
    """
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise _unreadable() from error


def parts(data: bytes, path: tuple[int, ...], at_most: int) -> int:
    """Count the parts of a message before it is parsed, no further than one beyond ``at_most``.

    Args:
        data: the message.
        path: numbers of the fields that lead to the parts: a repeated field, and the messages around it.
        at_most: where counting ends.

    Raises:
        InvalidRequestError: the bytes are no message, or have more other fields than any has.
    """
    if len(data) <= at_most * _SMALLEST_PART:
        return 0  # it cannot have more
    return _count(memoryview(data), path, at_most, _MOST_OTHER_FIELDS)[0]


def _count(data: memoryview, path: tuple[int, ...], at_most: int, others: int) -> tuple[int, int]:
    """Return how many parts there are, and how many other fields there may still be behind them."""
    found = 0
    for number, content in _fields(data):
        if number == path[0] and content is not None and len(path) == 1:
            found += 1
            if found > at_most:
                break
            continue
        others -= 1
        if others < 0:
            raise _too_many_fields(_MOST_OTHER_FIELDS)
        if number == path[0] and content is not None:
            inner, others = _count(content, path[1:], at_most - found, others)
            found += inner
    return found, others


@dataclass(frozen=True)
class Limits:
    """What the fields of a kind of message may be, by their numbers."""

    kind: Descriptor
    most_bytes: Mapping[int, int] = field(default_factory=dict)
    """Of a field's content; packed numbers take up to eight times theirs."""
    within: Mapping[int, Limits] = field(default_factory=dict)
    """Of the messages in a field."""


def check_fields(data: bytes, limits: Limits, at_most: int) -> None:
    """Refuse a message that would take far more memory than its bytes, before it is parsed.

    Args:
        data: the message.
        limits: of its fields.
        at_most: how many fields it may have, those of the messages that ``limits`` lead to among them.

    Raises:
        InvalidRequestError: there are more, or a field is over its limit, or the bytes are no message.
    """
    if _rest_of(memoryview(data), limits, at_most) < 0:
        raise _too_many_fields(at_most)


def _rest_of(data: memoryview, limits: Limits, left: int) -> int:
    """Return how many fields there may still be behind this message; negative is too many."""
    for number, content in _fields(data):
        left -= 1
        if content is not None:
            most_bytes = limits.most_bytes.get(number)
            if most_bytes is not None and len(content) > most_bytes:
                name = limits.kind.fields_by_number[number].full_name
                raise InvalidRequestError(
                    f"{name} has {len(content):,} bytes, expected at most {most_bytes:,}"
                )
            inner = limits.within.get(number)
            if inner is not None:
                left = _rest_of(content, inner, left)
        if left < 0:
            break
    return left


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | None]]:
    """Each field's number, and its content if that is bytes, text, a message or packed numbers."""
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
            raise _unreadable()  # groups, which this version of the language does not have
        yield tag >> 3, None


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    if position < len(data) and data[position] < 0x80:  # noqa: PLR2004 - the bit that says that more follow
        return data[position], position + 1
    value = 0
    for index in range(_LONGEST_VARINT):
        if position + index >= len(data):
            raise _unreadable()
        byte = data[position + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:  # noqa: PLR2004 - the same bit
            return value, position + index + 1
    raise _unreadable()


def _too_many_fields(at_most: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"the request has more than {at_most:,} fields where a few are expected; generate the client from "
        "the server's .proto, and let it pack numbers"
    )


def _unreadable() -> InvalidRequestError:
    return InvalidRequestError(
        "the request's bytes are not the message that the method takes; generate the client from the "
        "server's .proto"
    )
