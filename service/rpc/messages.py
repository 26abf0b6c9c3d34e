"""Messages of gRPC in the data of a stream: a flag, a length, the bytes.

In: data in pieces of any size. Out: whole messages, decompressed. A message over the limit is refused by its
length, before it has come; a compressed one as soon as it unfolds beyond the limit.
"""

from __future__ import annotations

import struct
import zlib

from service.errors import InvalidRequestError, MessageTooLargeError

_PREFIX = struct.Struct(">BL")
PREFIX_BYTES = _PREFIX.size
_WBITS = {b"gzip": 31, b"deflate": 15}


def framed(message: bytes) -> bytes:
    """Put the prefix of an uncompressed message before it."""
    return _PREFIX.pack(0, len(message)) + message


def only_message(data: bytes) -> bytes | None:
    """The message that some data is, if it is exactly one and not compressed."""
    if len(data) >= PREFIX_BYTES:
        flag, size = _PREFIX.unpack_from(data)
        if flag == 0 and size == len(data) - PREFIX_BYTES:
            return data[PREFIX_BYTES:]
    return None


class MessageReader:
    """Puts the messages of one request together."""

    def __init__(self, max_bytes: int) -> None:
        """Refuse messages of more than ``max_bytes``."""
        self._max_bytes = max_bytes
        self._start = b""
        """Of a prefix that is not whole yet."""
        self._message = bytearray()  # which grows with what comes, a byte for a byte
        self._missing: int | None = None
        self._is_compressed = False

    @property
    def is_between_messages(self) -> bool:
        """Whether all that came so far was whole messages."""
        return self._missing is None and not self._start

    def feed(self, data: bytes) -> list[tuple[bool, bytes]]:
        """Take data, and return the messages that are whole by it: compressed or not, and the bytes.

        Raises:
            MessageTooLargeError: a message announces more bytes than allowed.
            InvalidRequestError: the data is no message of gRPC.
        """
        if self._missing is not None and len(data) < self._missing:  # the middle of a long one
            self._message += data
            self._missing -= len(data)
            return []
        if self._missing is None and not self._start and (message := only_message(data)) is not None:
            if len(message) > self._max_bytes:
                self._begin(0, len(message))
            return [(False, message)]
        messages: list[tuple[bool, bytes]] = []
        data, self._start = self._start + data, b""
        position = 0
        while position < len(data) or self._missing == 0:
            if self._missing is None:
                if len(data) - position < PREFIX_BYTES:
                    self._start = data[position:]
                    break
                self._begin(*_PREFIX.unpack_from(data, position))
                position += PREFIX_BYTES
            missing = self._missing or 0
            part = data[position : position + missing]
            position += len(part)
            self._message += part
            self._missing = missing - len(part)
            if self._missing == 0:
                messages.append((self._is_compressed, bytes(self._message)))
                self._missing, self._message = None, bytearray()
        return messages

    def _begin(self, flag: int, size: int) -> None:
        if flag > 1:
            raise InvalidRequestError(f"a message begins with the flag {flag}, wanted 0 or 1 (compressed)")
        if size > self._max_bytes:
            raise MessageTooLargeError(
                f"a message has {size:,} bytes, more than the {self._max_bytes:,} that this server takes; "
                "split it into several calls"
            )
        self._is_compressed = flag == 1
        self._missing = size


def decompress(data: bytes, encoding: bytes, max_bytes: int) -> bytes:
    """Unfold a compressed message.

    Raises:
        MessageTooLargeError: it unfolds to more than ``max_bytes``.
        InvalidRequestError: it is damaged, or its encoding was not announced.
    """
    if encoding not in _WBITS:
        raise InvalidRequestError("a message is marked as compressed, but grpc-encoding names no compression")
    unfolding = zlib.decompressobj(wbits=_WBITS[encoding])
    try:
        message = unfolding.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise InvalidRequestError(f"a message is damaged: not {encoding.decode()}") from error
    if len(message) > max_bytes:
        raise MessageTooLargeError(f"a compressed message unfolds to more than {max_bytes:,} bytes")
    if not unfolding.eof:
        raise InvalidRequestError(f"a message is damaged: its {encoding.decode()} data is cut off")
    if unfolding.unused_data:
        raise InvalidRequestError(f"a message is damaged: more than its {encoding.decode()} data")
    return message
