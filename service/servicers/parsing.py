"""Bytes from outside become a message, or an error that is the sender's."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from service.errors import InvalidRequestError

_Message = TypeVar("_Message", bound=Message)


def parse(kind: type[_Message], data: bytes) -> _Message:
    """Parse a message.

    Raises:
        InvalidRequestError: the bytes are none of that kind.
    """
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise InvalidRequestError(
            "the request's bytes are not the message that the method takes; generate the client from the "
            "server's .proto"
        ) from error
