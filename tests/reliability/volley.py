"""A small, fast client: very many calls on one connection, of which only the status matters.

Knows HTTP/2 as far as this server speaks it: its header blocks are plain literals, so a status can be found
in them without decoding the rest.
"""

from __future__ import annotations

import re
import socket
import struct
from collections import Counter
from typing import TYPE_CHECKING, Self

import hpack
from hyperframe.frame import HeadersFrame, SettingsFrame, WindowUpdateFrame

from tests.service.raw_client import PREFACE, framed, head

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_WINDOW = 2**31 - 1
_AT_A_TIME = 64  # calls under way
_DATA, _HEADERS, _RST_STREAM, _GOAWAY = 0, 1, 3, 7
_END_STREAM = 1
_FRAME_BYTES = 16_384
_STATUS = re.compile(rb"grpc-status.(\d{1,2})", re.DOTALL)
_HEAD = struct.Struct(">HBBBL")
_PATIENCE_S = 120


class Volley:
    """One connection; a context manager, which closes it."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=_PATIENCE_S)
        self._socket.sendall(
            PREFACE
            + SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: _WINDOW}).serialize()
            + WindowUpdateFrame(0, window_increment=_WINDOW - 65_535).serialize()
        )
        self._encoder = hpack.Encoder()
        self._received = b""
        self._next_id = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def fire(self, path: str, messages: Iterable[bytes], timeout: str) -> Counter[int]:
        """Call a method with each message; returns how often each status came.

        Args:
            path: of the method.
            messages: each the only one of its call.
            timeout: of each call, as gRPC writes it.
        """
        statuses: Counter[int] = Counter()
        under_way: set[int] = set()
        for message in messages:
            under_way.add(self._next_id)
            block = self._encoder.encode(head(path, ("grpc-timeout", timeout)), huffman=False)
            headers = HeadersFrame(self._next_id, block, flags=["END_HEADERS"]).serialize()
            self._socket.sendall(headers + b"".join(_data_frames(self._next_id, framed(message))))
            self._next_id += 2
            while len(under_way) >= _AT_A_TIME:
                self._hear(under_way, statuses)
        while under_way:
            self._hear(under_way, statuses)
        return statuses

    def _hear(self, under_way: set[int], statuses: Counter[int]) -> None:
        """Read what has come, and count the calls that it ends."""
        received = self._socket.recv(1 << 16)
        if not received:
            raise ConnectionError("the server has hung up")
        self._received += received
        position = 0
        while len(self._received) - position >= _HEAD.size:
            high, low, kind, flags, stream_id = _HEAD.unpack_from(self._received, position)
            end = position + _HEAD.size + (high << 8 | low)
            if end > len(self._received):
                break
            if kind in {_RST_STREAM, _GOAWAY}:
                raise ConnectionError(f"frame of type {kind} for stream {stream_id}")
            if kind == _HEADERS and flags & _END_STREAM:
                found = _STATUS.search(self._received, position, end)
                statuses[int(found[1]) if found else -1] += 1
                under_way.discard(stream_id)
            position = end
        self._received = self._received[position:]


def _data_frames(stream_id: int, data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), _FRAME_BYTES):
        part = data[start : start + _FRAME_BYTES]
        flags = _END_STREAM if start + _FRAME_BYTES >= len(data) else 0
        yield _HEAD.pack(len(part) >> 8, len(part) & 0xFF, _DATA, flags, stream_id) + part
