"""A minimal gRPC client over one cleartext HTTP/2 connection, for load generators.

Messages stay serialized. It respects the server's flow-control windows and limits.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from typing import TYPE_CHECKING, cast

from hpack import Decoder

if TYPE_CHECKING:
    from collections.abc import Callable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
ACK = END_STREAM = 0x1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20
_MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW, _MAX_FRAME = 3, 4, 5  # settings of RFC 9113, section 6.5.2
_ENABLE_PUSH = 2
_CANCEL = 8
_HEAD = struct.Struct(">BHBBL")  # length in 24 bits, type, flags, stream
_SETTING = struct.Struct(">HL")
_MESSAGE_HEAD = struct.Struct(">BL")  # compressed or not, length
_WINDOW = 1 << 30  # what we let the server send, a stream and in all
_FIRST_WINDOW = 65_535  # what it lets us send until it says otherwise
_SHORT = 127  # bytes that an HPACK string may have for a length of one byte


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Encode an HTTP/2 frame (RFC 9113, section 4.1)."""
    size = len(payload)
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def message(body: bytes) -> bytes:
    """Put gRPC's prefix before a serialized message: not compressed, its length."""
    return _MESSAGE_HEAD.pack(0, len(body)) + body


def header_block(path: str, authority: str) -> bytes:
    """Encode the headers of a gRPC call as literals without indexing: the same bytes for every call."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": authority,
        "content-type": "application/grpc",
        "te": "trailers",
        "user-agent": "cifar10net-benchmarks",
    }
    return b"".join(_literal(name.encode(), value.encode()) for name, value in fields.items())


def _literal(name: bytes, value: bytes) -> bytes:
    if max(len(name), len(value)) >= _SHORT:
        raise ValueError(f"header {name!r} is longer than this encoder can say")
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


class Stream:
    """One call on a connection; subclasses handle the messages."""

    __slots__ = ("credit", "ending", "half", "number", "unsent", "window")

    def __init__(self) -> None:
        self.number = 0
        self.window = 0  # bytes that the server lets us send
        self.credit = 0  # bytes it sent since we last let it send more
        self.unsent = bytearray()
        self.ending = False
        self.half = b""  # the beginning of a message

    def on_message(self, body: bytes) -> None:
        """Handle a message from the server."""
        raise NotImplementedError

    def on_end(self, problem: str) -> None:
        """Handle the end of the call; ``problem`` is empty if its status was OK."""
        raise NotImplementedError


class HeaderDecoder:
    """Decodes header blocks; a repeated one comes from a cache while the dynamic table is unchanged."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._known: dict[bytes, dict[str, str]] = {}

    def decode(self, block: bytes) -> dict[str, str]:
        """Decode a block, which must be the next one of its connection."""
        if (fields := self._known.get(block)) is not None:
            return fields
        table = self._decoder.header_table
        before = (table.maxsize, tuple(table.dynamic_entries))
        # A text field decodes to text unless raw=True is asked for.
        fields = cast("dict[str, str]", dict(self._decoder.decode(block)))
        if (table.maxsize, tuple(table.dynamic_entries)) != before:
            self._known.clear()
        elif block[:1] < b"\x20" or block[:1] >= b"\x40":  # not a change of the table's size
            self._known[block] = fields
        return fields


class Connection(asyncio.Protocol):
    """Opens streams and sends messages on them; ``await connected()`` before the first."""

    def __init__(self) -> None:
        self.problem = ""  # why no more calls can be made; empty while they can
        self._ready = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._rest = b""
        self._decoder = HeaderDecoder()
        self._block: tuple[int, bytes] = (0, b"")
        self._streams: dict[int, Stream] = {}
        self._waiting: deque[tuple[Stream, bytes]] = deque()
        self._blocked: dict[int, Stream] = {}
        self._next = 1
        self._window, self._first_window = _FIRST_WINDOW, _FIRST_WINDOW
        self._max_frame, self._max_streams = 16_384, 1 << 31
        self._credit = 0
        self._takers: dict[int, Callable[[int, int, bytes], None]] = {
            DATA: self._take_data,
            HEADERS: self._take_headers,
            CONTINUATION: self._take_continuation,
            RST_STREAM: self._take_reset,
            SETTINGS: self._take_settings,
            PING: self._take_ping,
            GOAWAY: self._take_goaway,
            WINDOW_UPDATE: self._take_window,
        }

    async def connected(self) -> None:
        """Wait for the server's settings."""
        await self._ready

    def close(self) -> None:
        """Close the connection; streams that are open end with a problem."""
        if self._transport is not None:
            self._transport.close()

    # -- sending

    def open(self, stream: Stream, block: bytes) -> None:
        """Begin a call, or queue it while the server allows no more streams."""
        if self.problem:
            stream.on_end(self.problem)
        elif len(self._streams) >= self._max_streams:
            self._waiting.append((stream, block))
        else:
            self._begin(stream, block)

    def send(self, stream: Stream, data: bytes, *, end: bool) -> None:
        """Send messages that already have their prefix; ``end`` marks the last ones."""
        size = len(data)
        stream.ending = end
        if stream.number and not stream.unsent and size <= min(stream.window, self._window, self._max_frame):
            stream.window -= size
            self._window -= size
            self._out.append(frame(DATA, END_STREAM if end else 0, stream.number, data))
        else:
            stream.unsent += data
            self._pump(stream)

    def flush(self) -> None:
        """Write everything queued to the socket at once."""
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def _begin(self, stream: Stream, block: bytes) -> None:
        stream.number, stream.window = self._next, self._first_window
        self._next += 2
        self._streams[stream.number] = stream
        self._out.append(frame(HEADERS, END_HEADERS, stream.number, block))

    def _pump(self, stream: Stream) -> None:
        """Send the data queued on a stream, as far as the windows allow."""
        if stream.number not in self._streams:
            return
        unsent = stream.unsent
        while unsent:
            size = min(len(unsent), stream.window, self._window, self._max_frame)
            if size <= 0:
                self._blocked[stream.number] = stream
                return
            stream.window -= size
            self._window -= size
            last = stream.ending and size == len(unsent)
            piece = bytes(memoryview(unsent)[:size])
            self._out.append(frame(DATA, END_STREAM if last else 0, stream.number, piece))
            del unsent[:size]
            if last:
                return
        if stream.ending:
            self._out.append(frame(DATA, END_STREAM, stream.number))

    def _pump_blocked(self) -> None:
        blocked, self._blocked = self._blocked, {}
        for stream in blocked.values():
            self._pump(stream)

    # -- receiving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the preface: no push, and windows that never make the server wait."""
        self._transport = cast("asyncio.Transport", transport)
        settings = _SETTING.pack(_ENABLE_PUSH, 0) + _SETTING.pack(_INITIAL_WINDOW, _WINDOW)
        more = (_WINDOW - _FIRST_WINDOW).to_bytes(4, "big")
        self._out += [PREFACE, frame(SETTINGS, 0, 0, settings), frame(WINDOW_UPDATE, 0, 0, more)]
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """End every open call."""
        self._fail(0, f"connection lost: {exc or 'closed'}")
        if not self._ready.done():
            self._ready.set_exception(exc or ConnectionResetError("closed before the server's settings"))

    def data_received(self, data: bytes) -> None:
        """Handle every complete frame, then send the replies."""
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        while size - at >= _HEAD.size:
            high, low, kind, flags, number = _HEAD.unpack_from(data, at)
            end = at + _HEAD.size + (high << 16 | low)
            if end > size:
                break
            if (take := self._takers.get(kind)) is not None:  # unknown kinds are to be ignored
                take(flags, number, data[at + _HEAD.size : end])
            at = end
        self._rest = data[at:]
        self.flush()

    def _take_data(self, flags: int, number: int, payload: bytes) -> None:
        self._credit = self._give_credit(0, self._credit + len(payload))
        if (stream := self._streams.get(number)) is None:
            return
        if not flags & END_STREAM:
            stream.credit = self._give_credit(number, stream.credit + len(payload))
        data = stream.half + unpad(flags, payload)
        at, size = 0, len(data)
        while size - at >= _MESSAGE_HEAD.size:
            compressed, length = _MESSAGE_HEAD.unpack_from(data, at)
            end = at + _MESSAGE_HEAD.size + length
            if end > size or compressed:
                break
            stream.on_message(data[at + _MESSAGE_HEAD.size : end])
            at = end
        stream.half = data[at:]
        if flags & END_STREAM:
            self._end(number, "no status: the stream ended with data")

    def _give_credit(self, number: int, used: int) -> int:
        """Open the server's window again before half of it is used; return the bytes still to return."""
        if used < _WINDOW // 2:
            return used
        self._out.append(frame(WINDOW_UPDATE, 0, number, used.to_bytes(4, "big")))
        return 0

    def _take_headers(self, flags: int, number: int, payload: bytes) -> None:
        block = unpad(flags, payload)[5 if flags & PRIORITY else 0 :]
        if flags & END_HEADERS:
            self._take_fields(flags, number, block)
        else:
            self._block = (flags, block)

    def _take_continuation(self, flags: int, number: int, payload: bytes) -> None:
        first, block = self._block
        self._block = (first, block + payload)
        if flags & END_HEADERS:
            self._take_fields(first, number, block + payload)

    def _take_fields(self, flags: int, number: int, block: bytes) -> None:
        fields = self._decoder.decode(block)
        if flags & END_STREAM:
            self._end(number, _status_problem(fields, self._streams.get(number)))

    def _take_reset(self, _flags: int, number: int, payload: bytes) -> None:
        self._end(number, f"reset by the server, HTTP/2 error {int.from_bytes(payload, 'big')}")

    def _take_settings(self, flags: int, _number: int, payload: bytes) -> None:
        if flags & ACK:
            return
        for name, value in _SETTING.iter_unpack(payload):
            if name == _MAX_CONCURRENT_STREAMS:
                self._max_streams = value
            elif name == _MAX_FRAME:
                self._max_frame = value
            elif name == _INITIAL_WINDOW:
                for stream in self._streams.values():
                    stream.window += value - self._first_window
                self._first_window = value
        self._out.append(frame(SETTINGS, ACK, 0))
        self._pump_blocked()
        if not self._ready.done():
            self._ready.set_result(None)

    def _take_ping(self, flags: int, _number: int, payload: bytes) -> None:
        if not flags & ACK:
            self._out.append(frame(PING, ACK, 0, payload))

    def _take_goaway(self, _flags: int, _number: int, payload: bytes) -> None:
        last, code = struct.unpack_from(">LL", payload)
        self._fail(last, f"refused: the server is going away, HTTP/2 error {code}")

    def _take_window(self, _flags: int, number: int, payload: bytes) -> None:
        more = int.from_bytes(payload, "big")
        if not number:
            self._window += more
            self._pump_blocked()
        elif (stream := self._streams.get(number)) is not None:
            stream.window += more
            if number in self._blocked:
                del self._blocked[number]
                self._pump(stream)

    def _end(self, number: int, problem: str) -> None:
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        if self._blocked.pop(number, None) is not None:
            self._out.append(frame(RST_STREAM, 0, number, _CANCEL.to_bytes(4, "big")))
        stream.on_end(problem)
        while self._waiting and len(self._streams) < self._max_streams:
            waiting, block = self._waiting.popleft()
            self._begin(waiting, block)
            self._pump(waiting)

    def _fail(self, last: int, problem: str) -> None:
        """End every stream after ``last``, and open no more."""
        self.problem = problem
        waiting, self._waiting = self._waiting, deque()
        for number in [number for number in self._streams if number > last]:
            self._end(number, problem)
        for stream, _ in waiting:
            stream.on_end(problem)


def unpad(flags: int, payload: bytes) -> bytes:
    """Return the payload of a DATA or HEADERS frame without its padding."""
    return payload[1 : len(payload) - payload[0]] if flags & PADDED else payload


def _status_problem(fields: dict[str, str], stream: Stream | None) -> str:
    """Return the problem that a stream's trailers report; empty for status OK."""
    status = fields.get("grpc-status")
    if status is None:
        return f"no grpc-status; HTTP status {fields.get(':status', 'none')}"
    if status != "0":
        return f"grpc-status {status}: {fields.get('grpc-message', '')}"
    if stream is not None and stream.half:
        return "the stream ended within a message"
    return ""
