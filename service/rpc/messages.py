"""Length-prefixed messages of gRPC: a flag, a length, the bytes.

A message over the limit is refused by its announced length, a compressed one while it is decompressed.
"""

from __future__ import annotations

import struct
import zlib

from service.errors import InvalidRequestError, MessageTooLargeError

_PREFIX = struct.Struct(">BL")
PREFIX_BYTES = _PREFIX.size
_WBITS = {b"gzip": 31, b"deflate": 15}


def framed(message: bytes) -> bytes:
    """Put the prefix before an uncompressed message."""
    return _PREFIX.pack(0, len(message)) + message


def only_message(data: bytes) -> bytes | None:
    """Return the message in ``data`` if that is exactly one, not compressed; else None."""
    if len(data) >= PREFIX_BYTES:
        flag, size = _PREFIX.unpack_from(data)
        if flag == 0 and size == len(data) - PREFIX_BYTES:
            return data[PREFIX_BYTES:]
    return None


class MessageReader:
    """Assembles the messages of one request."""

    def __init__(self, max_bytes: int) -> None:
        """Refuse messages of more than ``max_bytes``."""
        self._max_bytes = max_bytes
        self._start = b""
        """An incomplete prefix."""
        self._message = bytearray()  # grows with the data, not to the announced length at once
        self._missing: int | None = None
        self._is_compressed = False

    @property
    def is_between_messages(self) -> bool:
        """Whether the data so far is a number of complete messages."""
        return self._missing is None and not self._start

    def feed(self, data: bytes) -> list[tuple[bool, bytes]]:
        """Take data in pieces of any size.

        Returns:
            The messages that are complete now: whether they are compressed, and their bytes.

        Raises:
            MessageTooLargeError: a message announces more bytes than allowed.
            InvalidRequestError: the data is not in gRPC's format.
        """
        if self._missing is not None and len(data) < self._missing:  # in the middle of a long message
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
    """Decompress a message.

    Raises:
        MessageTooLargeError: it has more than ``max_bytes``, decompressed.
        InvalidRequestError: it is damaged, or the request names no compression.
    """
    if encoding not in _WBITS:
        raise InvalidRequestError("a message is marked as compressed, but grpc-encoding names no compression")
    decompressor = zlib.decompressobj(wbits=_WBITS[encoding])
    try:
        message = decompressor.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise InvalidRequestError(f"a message is damaged: not {encoding.decode()}") from error
    if len(message) > max_bytes:
        raise MessageTooLargeError(f"a compressed message has more than {max_bytes:,} bytes, decompressed")
    if not decompressor.eof:
        raise InvalidRequestError(f"a message is damaged: its {encoding.decode()} data is cut off")
    if decompressor.unused_data:
        raise InvalidRequestError(f"a message is damaged: more than its {encoding.decode()} data")
    return message
