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

from service.http2 import frames
from service.http2.frame_reader import ConnectionFault, FrameReader, Http1Request
from service.http2.frames import ErrorCode, Setting
from service.http2.graceful_shutdown import Farewell
from service.http2.headers import MAX_HEADER_LIST_BYTES
from service.http2.keepalive import Vigil
from service.http2.stream import STREAM_WINDOW, TRAILERS

if TYPE_CHECKING:
    from service.http2.stream import Service, Stream

_CONNECTION_WINDOW = 16 << 20
_WRITE_BUFFER_BYTES = 1 << 20
MOST_UNSENT_BYTES = 16 << 20
"""Of answers that a client has not made room for; until it does, no more of its requests are taken."""
_LAST = frames.END_HEADERS | frames.END_STREAM
_ARE_YOU_THERE = b"are u ok"
_HTTP1_TEXT = b"this port speaks gRPC, over HTTP/2 only\n"
_HTTP1_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_HTTP1_TEXT), _HTTP1_TEXT)
)


class Connection(asyncio.Protocol):
    """Speaks HTTP/2 with one client."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.peer = ""
        """The client's address, for the log."""
        self._reader = FrameReader(self, service.make_head)
        self._streams: dict[int, Stream] = {}
        self._has_greeted = False
        self.last_id = 0
        self._receive_window = _CONNECTION_WINDOW
        self._send_window = self._granted_bytes = frames.DEFAULT_WINDOW
        self.unsent_bytes = 0
        """Of all streams' outboxes."""
        self.peer_stream_window = frames.DEFAULT_WINDOW
        self.heard_s = self._loop.time()
        self._vigil = Vigil(self, service.patience, self.heard_s)
        self._farewell = Farewell(self)
        self.paused_since_s: float | None = None
        self.has_said_all = False
        self._goes_on_soon = False

    @property
    def streams(self) -> int:
        """How many requests are under way."""
        return len(self._streams)

    def open_streams(self) -> list[Stream]:
        """Return those requests."""
        return list(self._streams.values())

    @property
    def is_greeted(self) -> bool:
        """Whether the client has shown that it speaks HTTP/2."""
        return self._reader.is_greeted

    @property
    def is_parting(self) -> bool:
        """Whether the client was asked to open no more streams."""
        return self._farewell.has_begun

    @property
    def open_block(self) -> int | None:
        """Number of the header block that has begun and not ended."""
        return self._reader.open_block

    @property
    def unwritten_bytes(self) -> int:
        """How much the system has not taken yet of what was written."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    @property
    def sent_bytes(self) -> int:
        """How much data was sent, all in all."""
        return self._granted_bytes - self._send_window

    # -- the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the client in, unless there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername")  # which a socket that was closed no longer knows
        self.peer = f"{name[0]}:{name[1]}" if isinstance(name, tuple) else str(name)
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        if not self._service.opened(self):
            self._transport.abort()

    def on_greeting(self) -> None:
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
        self.write(frames.settings(values) + more)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Tell every stream."""
        self._transport = None
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            self._end(stream)
        self._service.closed(self)

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read, so that no more answers are owed to it."""
        self.paused_since_s = self._loop.time()
        self._read_or_not()

    def resume_writing(self) -> None:
        """Go on."""
        self.paused_since_s = None
        self._read_or_not()
        self._flush_all()

    def _read_or_not(self) -> None:
        if self._transport is None:
            return
        if self._reader.has_more or self.paused_since_s is not None:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Take what has come, up to the last whole frame."""
        self.heard_s = self._loop.time()
        if self.has_said_all:
            return  # read on only so that the socket's end does not take back what was said
        self._read(data)

    def _read(self, data: bytes | None) -> None:
        """Handle frames; without data, those that an earlier turn left."""
        try:
            if data is None:
                self._reader.go_on()
            else:
                self._reader.feed(data)
        except ConnectionFault as fault:
            self._break_off(fault.code, str(fault))
        except Http1Request:
            self.write(_HTTP1_ANSWER)
            self._hang_up()
        if self._reader.has_more and not self._goes_on_soon:
            self._goes_on_soon = True
            self._read_or_not()
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._goes_on_soon = False
        if not self.is_deaf:
            self._read(None)
        self._read_or_not()

    # -- frames in

    @property
    def is_deaf(self) -> bool:
        """Whether the client is no longer listened to."""
        return self._transport is None or self.has_said_all or self._transport.is_closing()

    @property
    def is_closing(self) -> bool:
        """Whether it ends as soon as all that was written is out."""
        return self._transport is not None and self._transport.is_closing()

    def on_data(self, stream_id: int, data: bytes, size: int, *, ended: bool) -> None:
        """Give a stream its data."""
        self._receive_window -= size
        if self._receive_window < _CONNECTION_WINDOW // 2:
            if self._receive_window < 0:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection's window")
            self.write(frames.window_update(0, _CONNECTION_WINDOW - self._receive_window))
            self._receive_window = _CONNECTION_WINDOW
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
            stream.request_ended = ended
            stream.move(len(data), self.heard_s)
            stream.on_data(data, ended=ended)
            if not ended:
                self.let_through(stream)

    def on_block(self, stream_id: int, head: Any, *, ended: bool) -> None:  # noqa: ANN401 - the service's type
        """Open a stream by its head, or end a request by its trailers."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._on_trailers(stream, is_valid=ended and head is TRAILERS)
        elif stream_id % 2 == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} is not for clients to open")
        elif stream_id > self.last_id:
            self._open(stream_id, head, ended=ended)
        elif head is not TRAILERS:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} cannot be opened any more")
        # else it was answered, or cancelled, while this was on its way

    def _open(self, stream_id: int, head: Any, *, ended: bool) -> None:  # noqa: ANN401 - the service's type
        if self._farewell.last_answered_id is not None:
            return  # the client knows that this stream is not answered
        self.last_id = stream_id
        if head is None or head is TRAILERS:
            self.write(frames.reset(stream_id, ErrorCode.PROTOCOL_ERROR))
        elif len(self._streams) >= self._service.max_streams or self.unsent_bytes > MOST_UNSENT_BYTES:
            self.write(frames.reset(stream_id, ErrorCode.REFUSED_STREAM))
        else:
            stream = self._service.make_stream(self, stream_id, head, ended=ended)
            if stream.is_over:
                return
            self._streams[stream_id] = stream
            if ended:
                stream.on_data(b"", ended=True)

    def _check_was_open(self, stream_id: int) -> None:
        if stream_id % 2 == 0 or (stream_id > self.last_id and self._farewell.last_answered_id is None):
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

    def on_rst_stream(self, stream_id: int) -> None:
        """End a stream that the client has given up."""
        self._check_was_open(stream_id)
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._end(stream)
            self.close_when_done()

    def on_settings(self, stream_window: int | None) -> None:
        """Acknowledge SETTINGS, then go by them: clients count by the new windows from the reply on."""
        self.write(frames.frame(frames.SETTINGS, frames.ACK, 0, b""))
        if stream_window is not None:
            self._change_stream_windows(stream_window)

    def _change_stream_windows(self, size: int) -> None:
        change = size - self.peer_stream_window
        self.peer_stream_window = size
        for stream in list(self._streams.values()):
            stream.send_window += change
            if stream.send_window > frames.LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window overflows")
            self._flush(stream)

    def on_ping(self, payload: bytes, *, is_reply: bool) -> None:
        """Reply, or learn that the client knows of the goodbye."""
        if not is_reply:
            self._vigil.on_ping(self.heard_s)
            self.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        else:
            self._farewell.on_pong(payload, self.heard_s)

    def on_window_update(self, stream_id: int, increment: int) -> None:
        """Send what waited for it."""
        if stream_id == 0:
            if not increment:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
            self._send_window += increment
            self._granted_bytes += increment
            if self._send_window > frames.LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window overflows")
            self._flush_all()
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
        room = min(stream.send_window, self._send_window, frames.MAX_FRAME_BYTES)
        if size <= room and self.paused_since_s is None:
            self._send_window -= size
            self.write(frames.answer(stream.id, head, data, trailers))
            self._finish(stream)
        else:
            self.send_headers(stream, head)
            self.send(stream, data, trailers)

    def send_headers(self, stream: Stream, block: bytes, *, ended: bool = False) -> None:
        """Send a header block; the last one if ``ended``."""
        flags = _LAST if ended else frames.END_HEADERS
        self.write(frames.frame(frames.HEADERS, flags, stream.id, block))
        if ended:
            self._finish(stream)

    def send(self, stream: Stream, data: bytes, trailers: bytes | None = None) -> None:
        """Send data, and behind it the block that ends the answer; as soon as the windows allow."""
        if stream.outbox is None:
            stream.outbox = deque()
        if data:
            stream.outbox.append(memoryview(data))
            self.unsent_bytes += len(data)
        stream.trailers = trailers
        stream.moved_s = self._loop.time()
        self._flush(stream)

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        """End a stream without an answer."""
        self.write(frames.reset(stream.id, code))
        self._streams.pop(stream.id, None)
        self._end(stream)
        self.close_when_done()

    def let_through(self, stream: Stream) -> None:
        """Open a stream's window again for as much as it has taken."""
        taken = STREAM_WINDOW - stream.unread_bytes - stream.receive_window
        if taken >= STREAM_WINDOW // 2 and not stream.is_over and not stream.request_ended:
            stream.receive_window += taken
            stream.moved_s = self._loop.time()  # now it is the client's turn
            self.write(frames.window_update(stream.id, taken))

    def drop_unsent(self, stream: Stream) -> None:
        """Forget what a stream's windows hold back."""
        if stream.outbox:
            self.unsent_bytes -= sum(map(len, stream.outbox))
            stream.outbox.clear()

    def _flush_all(self) -> None:
        for stream in [stream for stream in self._streams.values() if stream.outbox]:
            self._flush(stream)

    def _flush(self, stream: Stream) -> None:
        """Send as much of a stream's outbox as both windows and the socket allow."""
        outbox = stream.outbox
        if outbox is None:
            return
        pieces: list[bytes | memoryview] = []
        while outbox and self.paused_since_s is None:
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
            self.unsent_bytes -= size
            stream.move(size, self.heard_s)
            pieces += (frames.HEAD.pack(size >> 8, size & 0xFF, frames.DATA, 0, stream.id), data)
        if pieces:
            self.write(b"".join(pieces))
        if outbox:
            return
        if stream.drained is not None and not stream.drained.done():
            stream.drained.set_result(None)
        if stream.trailers is not None:
            self.send_headers(stream, stream.trailers, ended=True)

    def _finish(self, stream: Stream) -> None:
        """The answer is out."""
        if not stream.request_ended:
            self.write(frames.reset(stream.id, ErrorCode.NO_ERROR))  # its rest is not wanted
        self._streams.pop(stream.id, None)
        self._end(stream)
        self.close_when_done()

    def _end(self, stream: Stream) -> None:
        stream.is_over = True
        self.drop_unsent(stream)
        stream.outbox = None
        if stream.drained is not None and not stream.drained.done():
            stream.drained.set_result(None)
        stream.on_over()

    def write(self, data: bytes) -> None:
        """Send bytes, as long as there is someone to hear them."""
        if self._transport is not None and not self.is_deaf:
            self._transport.write(data)

    # -- the end

    def ping(self) -> None:
        """Ask the client whether it is there."""
        self.write(frames.frame(frames.PING, 0, 0, _ARE_YOU_THERE))

    def say_goodbye(self) -> None:
        """Ask the client to open no more streams; close once the open ones are answered."""
        self._farewell.begin(self._loop.time())

    def close_when_done(self) -> None:
        """Close if the client knows that no more streams are answered, and none is left."""
        if self._farewell.last_answered_id is None or self._streams or self._transport is None:
            return
        self._farewell.on_close(self._loop.time())
        if self.has_said_all or self._transport.is_closing():
            return
        self.has_said_all = True
        if self._transport.can_write_eof():
            self._transport.write_eof()  # and go on reading: what is unread when a socket closes resets it
        else:
            self._transport.close()

    def _break_off(self, code: ErrorCode, reason: str) -> None:
        """End every stream, say why, and wait for the client to close."""
        self.on_greeting()
        self.write(frames.go_away(self.last_id, code, reason.encode()[:200]))
        self.turn_away(code.name, reason)

    def turn_away(self, code: str, reason: str) -> None:
        """End every stream without a word, and wait for the client to close."""
        self._service.broken_off(self, code, reason)
        self._reader.drop()
        self._farewell.last_answered_id = self.last_id
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            self._end(stream)
        self.close_when_done()

    def close(self, code: ErrorCode, reason: str) -> None:
        """End the connection and every stream on it at once."""
        self.write(frames.go_away(self.last_id, code, reason.encode()[:200]))
        self._hang_up()

    def _hang_up(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    def give_up(self, reason: str) -> None:
        """End the connection to a client that keeps the server waiting."""
        self._service.broken_off(self, "GIVEN_UP", reason)
        self.abort()

    def tick(self, now_s: float) -> None:
        """Look after the client; to be called about once a second."""
        self._farewell.look(now_s, self._service.patience)
        if not self.is_deaf:
            self._vigil.look(now_s)
