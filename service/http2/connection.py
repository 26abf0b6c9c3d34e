"""One client's connection: frames in, streams made of them, their answers out, all within bounds.

In: bytes from a socket. Out: to each Stream its request's data, and to the socket what streams send, as far
as the client's windows allow. A fault of one stream ends that stream, a fault of the connection this
connection; other connections never notice. Knows nothing of gRPC, and writes nothing without bound: a client
that does not read is not read from either.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from hpack import HPACKError, OversizedHeaderListError

from service.http2 import frames
from service.http2.frames import ErrorCode, Setting
from service.http2.headers import MAX_HEADER_LIST_BYTES, MOST_READ_BYTES, HeaderReader
from service.http2.stream import STREAM_WINDOW, TRAILERS

if TYPE_CHECKING:
    from service.http2.stream import Patience, Service, Stream

_CONNECTION_WINDOW = 16 << 20
_WRITE_BUFFER_BYTES = 1 << 20
_FRAMES_A_TURN = 64
"""A client that sends more at once lets the others go first: a read may hold 25,000 of the smallest."""
_GOODBYE = b"goodbye?"
_HTTP1_TEXT = b"this port speaks gRPC, over HTTP/2 only\n"
_HTTP1_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_HTTP1_TEXT), _HTTP1_TEXT)
)


class ConnectionFault(Exception):  # noqa: N818 - the RFC's connection error, which is no error of ours
    """The client broke the protocol so that the connection cannot go on."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Connection(asyncio.Protocol):
    """Speaks HTTP/2 with one client."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._headers: HeaderReader[Any] = HeaderReader(service.make_head)
        self._streams: dict[int, Stream] = {}
        self._rest = b""
        self._is_greeted = self._has_greeted = False
        self._block: tuple[int, int, bytearray] | None = None
        """A header block that CONTINUATION frames are to complete: its stream, flags and bytes."""
        self._last_id = 0
        self._last_answered_id: int | None = None
        """Set once the client was told that later streams are not answered."""
        self._receive_window = _CONNECTION_WINDOW
        self._send_window = frames.DEFAULT_WINDOW
        self.peer_stream_window = frames.DEFAULT_WINDOW
        self._opened_s = self.heard_s = self._loop.time()
        self._asked: tuple[float, float] | None = None
        """When a silent client was asked whether it is there, and when it had been heard last by then."""
        self._closing_since_s: float | None = None
        self._paused_since_s: float | None = None
        self._has_more = False
        """Whether frames have come that are to be handled in the loop's next turn."""
        self._has_said_all = False

    @property
    def streams(self) -> int:
        """How many requests are under way."""
        return len(self._streams)

    @property
    def peer(self) -> str:
        """The client's address, for the log."""
        name = self._transport.get_extra_info("peername") if self._transport else None
        return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else str(name)

    # -- the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the client in, unless there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        if not self._service.opened(self):
            self._transport.abort()

    def _greet(self) -> None:
        """Send SETTINGS, which come first; not before the client has shown that it speaks HTTP/2."""
        if self._has_greeted:
            return
        self._has_greeted = True
        values = {
            Setting.MAX_CONCURRENT_STREAMS: self._service.max_streams,
            Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            Setting.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST_BYTES,
        }
        more = frames.window_update(0, _CONNECTION_WINDOW - frames.DEFAULT_WINDOW)
        self._write(frames.settings(values) + more)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Tell every stream."""
        self._transport = None
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            self._end(stream)
        self._service.closed(self)

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read, so that no more answers are owed to it."""
        self._paused_since_s = self._loop.time()
        self._read_or_not()

    def resume_writing(self) -> None:
        """Go on."""
        self._paused_since_s = None
        self._read_or_not()

    def _read_or_not(self) -> None:
        if self._transport is None:
            return
        if self._has_more or self._paused_since_s is not None:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Take what has come, up to the last whole frame."""
        self.heard_s = self._loop.time()
        if self._has_said_all:
            return  # read on only so that the socket's end does not take back what was said
        if self._rest:
            data = self._rest + data
        if self._has_more:
            self._rest = data
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        try:
            if self._is_greeted:
                self._rest = self._read_frames(data, 0)
            else:
                self._rest = self._read_preface(data)
        except ConnectionFault as fault:
            self._break_off(fault.code, str(fault))

    def _go_on(self) -> None:
        self._has_more = False
        if self._transport is not None and not self._has_said_all and not self._transport.is_closing():
            self._take(self._rest)
        self._read_or_not()

    # -- frames in

    def _read_preface(self, data: bytes) -> bytes:
        start = data[: len(frames.PREFACE)]
        if not frames.PREFACE.startswith(start):
            if self._transport is not None and start[:4] in {b"GET ", b"HEAD", b"POST", b"PUT ", b"OPTI"}:
                self._transport.write(_HTTP1_ANSWER)
                self._transport.close()
                return b""
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this is no HTTP/2")
        if len(data) < len(start) + frames.HEAD_BYTES or len(start) < len(frames.PREFACE):
            return data
        _, _, kind, flags, _ = frames.HEAD.unpack_from(data, len(start))
        if kind != frames.SETTINGS or flags & frames.ACK:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the preface has no SETTINGS")
        self._is_greeted = True
        self._greet()
        return self._read_frames(data, len(start))

    def _read_frames(self, data: bytes, position: int) -> bytes:
        """Handle whole frames, all or as many as are one turn's share; return what is left."""
        size = len(data)
        share = _FRAMES_A_TURN
        while size - position >= frames.HEAD_BYTES:
            high, low, kind, flags, stream_id = frames.HEAD.unpack_from(data, position)
            length = high << 8 | low
            if length > frames.MAX_FRAME_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            end = position + frames.HEAD_BYTES + length
            if end > size:
                break
            payload = data[position + frames.HEAD_BYTES : end]
            position = end
            stream_id &= frames.LARGEST_STREAM_ID
            if self._block is not None and kind != frames.CONTINUATION:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block was interrupted")
            if kind == frames.DATA:
                self._on_data(flags, stream_id, payload)
            elif kind == frames.HEADERS:
                self._on_headers(flags, stream_id, payload)
            elif kind < len(_OTHER_FRAMES):
                _OTHER_FRAMES[kind](self, flags, stream_id, payload)
            if self._transport is None or self._has_said_all or self._transport.is_closing():
                return b""
            share -= 1
            if not share:
                self._has_more = True
                self._read_or_not()
                self._loop.call_soon(self._go_on)
                break
        return data[position:]

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._receive_window -= size
        if self._receive_window < _CONNECTION_WINDOW // 2:
            if self._receive_window < 0:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection's window")
            self._write(frames.window_update(0, _CONNECTION_WINDOW - self._receive_window))
            self._receive_window = _CONNECTION_WINDOW
        if flags & frames.PADDED:
            payload = _without_padding(payload)
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_was_open(stream_id)
            return  # it was answered, or cancelled, while this was on its way
        stream.receive_window -= size
        if stream.request_ended:
            self.reset(stream, ErrorCode.STREAM_CLOSED)
        elif stream.receive_window < 0:
            self.reset(stream, ErrorCode.FLOW_CONTROL_ERROR)
        else:
            ended = bool(flags & frames.END_STREAM)
            stream.request_ended = ended
            stream.moved_s = self.heard_s
            stream.on_data(payload, ended=ended)
            if not ended:
                self.let_through(stream)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags & frames.PADDED:
            payload = _without_padding(payload)
        if flags & frames.WITH_PRIORITY:
            if len(payload) < _PRIORITY_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without room for its priority")
            payload = payload[_PRIORITY_BYTES:]
        if flags & frames.END_HEADERS:
            self._on_block(flags, stream_id, payload)
        else:
            self._block = (stream_id, flags, bytearray(payload))

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        if not payload and not flags & frames.END_HEADERS:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "CONTINUATION without anything")
        _, first_flags, block = self._block
        block += payload
        if len(block) > MOST_READ_BYTES:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"header block over {MOST_READ_BYTES} bytes")
        if flags & frames.END_HEADERS:
            self._block = None
            self._on_block(first_flags, stream_id, bytes(block))

    def _on_block(self, flags: int, stream_id: int, block: bytes) -> None:
        try:
            head = self._headers.read(block)
        except OversizedHeaderListError as error:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, str(error)) from error
        except (HPACKError, IndexError, ValueError) as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "damaged header block") from error
        ended = bool(flags & frames.END_STREAM)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._on_trailers(stream, is_valid=ended and head is TRAILERS)
        elif stream_id % 2 == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} is not for clients to open")
        elif stream_id > self._last_id:
            self._open(stream_id, head, ended=ended)
        elif head is not TRAILERS:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} cannot be opened any more")
        # else it was answered, or cancelled, while this was on its way

    def _open(self, stream_id: int, head: Any, *, ended: bool) -> None:  # noqa: ANN401 - the service's type
        if self._last_answered_id is not None:
            return  # the client knows that this stream is not answered
        self._last_id = stream_id
        if head is None or head is TRAILERS:
            self._write(frames.reset(stream_id, ErrorCode.PROTOCOL_ERROR))
        elif len(self._streams) >= self._service.max_streams:
            self._write(frames.reset(stream_id, ErrorCode.REFUSED_STREAM))
        else:
            stream = self._service.make_stream(self, stream_id, head)
            if stream.is_over:
                return
            self._streams[stream_id] = stream
            if ended:
                stream.request_ended = True
                stream.on_data(b"", ended=True)

    def _check_was_open(self, stream_id: int) -> None:
        if stream_id % 2 == 0 or (stream_id > self._last_id and self._last_answered_id is None):
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, f"a frame of stream {stream_id}, which is not open"
            )

    def _on_trailers(self, stream: Stream, *, is_valid: bool) -> None:
        if stream.request_ended:
            self.reset(stream, ErrorCode.STREAM_CLOSED)
        elif not is_valid:
            self.reset(stream, ErrorCode.PROTOCOL_ERROR)
        else:
            stream.request_ended = True
            stream.on_data(b"", ended=True)

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002 - as every frame
        if stream_id == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY of no stream")
        if len(payload) != _PRIORITY_BYTES:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "damaged PRIORITY")

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002
        if len(payload) != _LONG_BYTES:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "damaged RST_STREAM")
        self._check_was_open(stream_id)
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._end(stream)
            self._close_when_done()

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id != 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS of a stream")
        if len(payload) % _SETTING_BYTES or (flags & frames.ACK and payload):
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "damaged SETTINGS")
        if flags & frames.ACK:
            return
        window = None
        for key, value in frames.read_settings(payload):
            if key == Setting.INITIAL_WINDOW_SIZE:
                window = value  # the last one counts: changing every stream's costs more than asking for it
                if value > frames.LARGEST_WINDOW:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"a window of {value} bytes")
            elif (key == Setting.ENABLE_PUSH and value > 1) or (
                key == Setting.MAX_FRAME_SIZE and not frames.MAX_FRAME_BYTES <= value < 1 << 24
            ):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"setting {key} is {value}")
        # First the reply: clients count by the new windows from then on.
        self._write(frames.frame(frames.SETTINGS, frames.ACK, 0, b""))
        if window is not None:
            self._change_stream_windows(window)

    def _change_stream_windows(self, size: int) -> None:
        change = size - self.peer_stream_window
        self.peer_stream_window = size
        for stream in list(self._streams.values()):
            stream.send_window += change
            if stream.send_window > frames.LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window overflows")
            self._flush(stream)

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE by a client")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id != 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING of a stream")
        if len(payload) != _PING_BYTES:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "damaged PING")
        if not flags & frames.ACK:
            self._write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif payload == _GOODBYE and self._closing_since_s is not None:
            self._refuse_further_streams()

    def _on_go_away(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002
        """Clients that go away close the connection when they have their answers."""
        if stream_id != 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY of a stream")
        if len(payload) < _PING_BYTES:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "damaged GOAWAY")

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002
        if len(payload) != _LONG_BYTES:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "damaged WINDOW_UPDATE")
        increment = frames.read_long(payload)
        if stream_id == 0:
            if not increment:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
            self._send_window += increment
            if self._send_window > frames.LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window overflows")
            for stream in [stream for stream in self._streams.values() if stream.outbox]:
                self._flush(stream)
            return
        self._check_was_open(stream_id)
        found = self._streams.get(stream_id)
        if found is not None:
            found.send_window += increment
            if not increment:
                self.reset(found, ErrorCode.PROTOCOL_ERROR)
            elif found.send_window > frames.LARGEST_WINDOW:
                self.reset(found, ErrorCode.FLOW_CONTROL_ERROR)
            else:
                self._flush(found)

    # -- what streams send

    def respond(self, stream: Stream, head: bytes, data: bytes, trailers: bytes) -> None:
        """Send a whole answer: header block, data, and the block that ends it."""
        size = len(data)
        if size <= stream.send_window and size <= self._send_window and size <= frames.MAX_FRAME_BYTES:
            self._send_window -= size
            self._write(frames.answer(stream.id, head, data, trailers))
            self._finish(stream)
        else:
            self.send_headers(stream, head)
            self.send(stream, data, trailers)

    def send_headers(self, stream: Stream, block: bytes, *, ended: bool = False) -> None:
        """Send a header block; the last one if ``ended``."""
        flags = _LAST if ended else frames.END_HEADERS
        self._write(frames.frame(frames.HEADERS, flags, stream.id, block))
        if ended:
            self._finish(stream)

    def send(self, stream: Stream, data: bytes, trailers: bytes | None = None) -> None:
        """Send data, and behind it the block that ends the answer; as soon as the windows allow."""
        if stream.outbox is None:
            stream.outbox = deque()
        if data:
            stream.outbox.append(memoryview(data))
        stream.trailers = trailers
        stream.moved_s = self._loop.time()
        self._flush(stream)

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        """End a stream without an answer."""
        self._write(frames.reset(stream.id, code))
        self._streams.pop(stream.id, None)
        self._end(stream)
        self._close_when_done()

    def let_through(self, stream: Stream) -> None:
        """Open a stream's window again for as much as it has taken."""
        taken = STREAM_WINDOW - stream.unread_bytes - stream.receive_window
        if taken >= STREAM_WINDOW // 2 and not stream.is_over and not stream.request_ended:
            stream.receive_window += taken
            stream.moved_s = self._loop.time()  # now it is the client's turn
            self._write(frames.window_update(stream.id, taken))

    def _flush(self, stream: Stream) -> None:
        """Send as much of a stream's outbox as both windows allow."""
        outbox = stream.outbox
        if outbox is None:
            return
        pieces: list[bytes | memoryview] = []
        while outbox:
            room = min(stream.send_window, self._send_window, frames.MAX_FRAME_BYTES)
            if room <= 0:
                break
            data = outbox[0][:room]
            if len(data) == len(outbox[0]):
                outbox.popleft()
            else:
                outbox[0] = outbox[0][room:]
            size = len(data)
            stream.send_window -= size
            self._send_window -= size
            pieces += (frames.HEAD.pack(size >> 8, size & 0xFF, frames.DATA, 0, stream.id), data)
        if pieces:
            stream.moved_s = self._loop.time()
            self._write(b"".join(pieces))
        if outbox:
            return
        if stream.drained is not None and not stream.drained.done():
            stream.drained.set_result(None)
        if stream.trailers is not None:
            self.send_headers(stream, stream.trailers, ended=True)

    def _finish(self, stream: Stream) -> None:
        """The answer is out."""
        if not stream.request_ended:
            self._write(frames.reset(stream.id, ErrorCode.NO_ERROR))  # its rest is not wanted
        self._streams.pop(stream.id, None)
        self._end(stream)
        self._close_when_done()

    def _end(self, stream: Stream) -> None:
        stream.is_over = True
        stream.outbox = None
        if stream.drained is not None and not stream.drained.done():
            stream.drained.set_result(None)
        stream.on_over()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._has_said_all and not self._transport.is_closing():
            self._transport.write(data)

    # -- the end

    def say_goodbye(self) -> None:
        """Ask the client to open no more streams; close once the open ones are answered.

        Streams that cross this on the wire are still answered: only when the client has shown by its PING
        reply that it knows, later ones are refused, and it knows which.
        """
        if self._closing_since_s is None:
            self._closing_since_s = self._loop.time()
            self._greet()
            self._write(frames.go_away(frames.LARGEST_STREAM_ID, ErrorCode.NO_ERROR))
            self._write(frames.frame(frames.PING, 0, 0, _GOODBYE))
            if not self._is_greeted:
                self._refuse_further_streams()

    def _refuse_further_streams(self) -> None:
        if self._last_answered_id is None:
            self._last_answered_id = self._last_id
            self._write(frames.go_away(self._last_id, ErrorCode.NO_ERROR))
            self._closing_since_s = self._loop.time()
            self._close_when_done()

    def _close_when_done(self) -> None:
        if self._last_answered_id is None or self._streams or self._transport is None:
            return
        self._closing_since_s = self._loop.time()
        if self._has_said_all or self._transport.is_closing():
            return
        self._has_said_all = True
        if self._transport.can_write_eof():
            self._transport.write_eof()  # and go on reading: what is unread when a socket closes resets it
        else:
            self._transport.close()

    def _break_off(self, code: ErrorCode, reason: str) -> None:
        """End every stream, say why, and wait for the client to close."""
        self._greet()
        self._rest = b""
        self._last_answered_id = self._last_id
        self._write(frames.go_away(self._last_id, code, reason.encode()[:200]))
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            self._end(stream)
        self._close_when_done()

    def close(self, code: ErrorCode, reason: str) -> None:
        """End the connection and every stream on it at once."""
        self._write(frames.go_away(self._last_id, code, reason.encode()[:200]))
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    def tick(self, now_s: float) -> None:
        """Look after a client that has gone silent; to be called about once a second."""
        patience = self._service.patience
        if self._closing_since_s is not None:
            self._see_off(now_s - self._closing_since_s, patience)
        if not self._is_greeted:
            if now_s - self._opened_s > patience.handshake_s:
                self.abort()
            return
        if self._paused_since_s is not None and now_s - self._paused_since_s > patience.stall_s:
            self.abort()
        elif now_s - self.heard_s > patience.silence_s:
            self._ask(now_s, patience)
        for stream in list(self._streams.values()):
            if stream.waits_for_client and now_s - stream.moved_s > patience.stall_s:
                stream.on_stall()

    def _see_off(self, waited_s: float, patience: Patience) -> None:
        if self._has_said_all and self._transport is not None:
            is_out = not self._transport.get_write_buffer_size()
            if waited_s > (patience.goodbye_s if is_out else patience.stall_s):
                self.abort()
        elif self._last_answered_id is None and waited_s > patience.goodbye_s:
            self._refuse_further_streams()

    def _ask(self, now_s: float, patience: Patience) -> None:
        if self._asked is None or self._asked[1] != self.heard_s:
            self._asked = now_s, self.heard_s
            self._write(frames.frame(frames.PING, 0, 0, b"are u ok"))
        elif now_s - self._asked[0] > patience.reply_s:
            self.abort()


_LAST = frames.END_HEADERS | frames.END_STREAM
_PRIORITY_BYTES = 5
_LONG_BYTES = 4
_SETTING_BYTES = 6
_PING_BYTES = 8
_OTHER_FRAMES = (
    Connection._on_data,  # noqa: SLF001 - the class's own table
    Connection._on_headers,  # noqa: SLF001
    Connection._on_priority,  # noqa: SLF001
    Connection._on_rst_stream,  # noqa: SLF001
    Connection._on_settings,  # noqa: SLF001
    Connection._on_push_promise,  # noqa: SLF001
    Connection._on_ping,  # noqa: SLF001
    Connection._on_go_away,  # noqa: SLF001
    Connection._on_window_update,  # noqa: SLF001
    Connection._on_continuation,  # noqa: SLF001
)


def _without_padding(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]
