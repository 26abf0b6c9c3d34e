"""Bytes from outside become a message, or an error that is the sender's.

A message of many small parts takes far more memory and time than its bytes: where that can be, the parts are
counted first.
"""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from service.errors import InvalidRequestError

_Message = TypeVar("_Message", bound=Message)
_SMALLEST_PART = 2  # bytes: its tag and its length
_VARINT, _EIGHT_BYTES, _LENGTH_DELIMITED, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT = 10


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
        InvalidRequestError: the bytes are no message.
    """
    if len(data) <= at_most * _SMALLEST_PART:
        return 0  # it cannot have more
    return _count(memoryview(data), path, at_most)


def _count(data: memoryview, path: tuple[int, ...], at_most: int) -> int:
    found = position = 0
    while position < len(data) and found <= at_most:
        tag, position = _varint(data, position)
        kind = tag & 7
        if kind == _VARINT:
            _, position = _varint(data, position)
        elif kind == _LENGTH_DELIMITED:
            size, position = _varint(data, position)
            if tag >> 3 == path[0]:
                inner = data[position : position + size]
                found += 1 if len(path) == 1 else _count(inner, path[1:], at_most - found)
            position += size
        elif kind in {_EIGHT_BYTES, _FOUR_BYTES}:
            position += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise _unreadable()  # groups, which this version of the language does not have
    return found


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index in range(_LONGEST_VARINT):
        if position + index >= len(data):
            raise _unreadable()
        byte = data[position + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follow
            return value, position + index + 1
    raise _unreadable()


def _unreadable() -> InvalidRequestError:
    return InvalidRequestError(
        "the request's bytes are not the message that the method takes; generate the client from the "
        "server's .proto"
    )
