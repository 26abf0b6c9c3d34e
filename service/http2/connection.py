"""One client's HTTP/2 connection: streams, flow control, and the socket.

An error of a stream ends that stream, an error of the connection this connection; other connections are not
affected. What is buffered for a client is bounded: a client that does not read is not read from either.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, cast

from service.http2 import frames
from service.http2.frame_reader import FrameReader, Http1Request, ProtocolError
from service.http2.frames import ErrorCode, Setting
from service.http2.graceful_shutdown import PING_PAYLOAD, GracefulShutdown, Step
from service.http2.headers import MAX_HEADER_LIST_BYTES
from service.http2.keepalive import Activity, Keepalive
from service.http2.stream import STREAM_WINDOW, TRAILERS

if TYPE_CHECKING:
    from service.http2.headers import Fields
    from service.http2.stream import Sender, Stream
    from service.http2.timeouts import Timeouts

_CONNECTION_WINDOW = 16 << 20
_WRITE_BUFFER_BYTES = 1 << 20
MAX_UNSENT_BYTES = 16 << 20
"""Bytes of answers that the client's windows may hold back; beyond, no more of its requests are taken."""
_LAST = frames.END_HEADERS | frames.END_STREAM
_KEEPALIVE_PAYLOAD = b"are u ok"
_TOO_MANY_PINGS = "too_many_pings"
"""Makes a gRPC client ping less often when it reconnects (gRFC A8)."""
_MAX_REASON_BYTES = 200
_HTTP1_TEXT = b"this port speaks gRPC, over HTTP/2 only\n"
_HTTP1_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_HTTP1_TEXT), _HTTP1_TEXT)
)


class Service(Protocol):
    """Answers the streams of connections."""

    timeouts: Timeouts
    max_streams: int
    """Of a connection at a time."""

    def read_head(self, fields: Fields) -> Any:  # noqa: ANN401 - the service's own type
        """Read a header block's fields: a request's head, TRAILERS, or None if they are malformed."""

    def make_stream(
        self,
        sender: Sender,
        stream_id: int,
        head: Any,  # noqa: ANN401
        *,
        ended: bool,
    ) -> Stream:
        """Make the stream of a new request, which may have ended with its head; it may answer at once."""

    def connection_opened(self, connection: Connection) -> bool:
        """Count a new connection; False refuses it."""

    def connection_failed(self, connection: Connection, code: str, reason: str) -> None:
        """Log that a connection is ended because of what its client did or failed to do."""

    def connection_closed(self, connection: Connection) -> None:
        """Uncount a connection."""


class Connection(asyncio.Protocol):
    """Speaks HTTP/2 with one client; implements ``Sender`` for its streams."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.peer = ""
        """The client's address, for the log."""
        self._reader = FrameReader(self, service.read_head)
        self._streams: dict[int, Stream] = {}
        self._has_sent_settings = False
        self._last_stream_id = 0
        self._receive_window = _CONNECTION_WINDOW
        self._send_window = self._granted_bytes = frames.DEFAULT_WINDOW
        self.unsent_bytes = 0
        """Bytes in all streams' outboxes."""
        self.peer_stream_window = frames.DEFAULT_WINDOW
        self.last_received_s = self._loop.time()
        self._keepalive = Keepalive(service.timeouts, self.last_received_s)
        self._shutdown = GracefulShutdown(service.timeouts)
        self._write_paused_s: float | None = None
        self._is_half_closed = False
        """Whether everything is said: the server's EOF is sent, the client's is awaited."""
        self._will_resume = False

    @property
    def streams(self) -> int:
        """Number of open streams."""
        return len(self._streams)

    # -- the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless the service refuses the connection."""
        self._transport = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername")  # None for a socket that is closed already
        self.peer = f"{name[0]}:{name[1]}" if isinstance(name, tuple) else str(name)
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        if not self._service.connection_opened(self):
            self._transport.abort()

    def on_preface(self) -> None:
        """Send SETTINGS, which come first; not before the client has shown that it speaks HTTP/2."""
        if self._has_sent_settings:
            return
        self._has_sent_settings = True
        values = {
            Setting.MAX_CONCURRENT_STREAMS: self._service.max_streams,
            Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            Setting.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST_BYTES,
        }
        update = frames.window_update(0, _CONNECTION_WINDOW - frames.DEFAULT_WINDOW)
        self._write(frames.settings(values) + update)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """End every stream."""
        self._transport = None
        self._end_all()
        self._service.connection_closed(self)

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read, so that no more answers pile up for it."""
        self._write_paused_s = self._loop.time()
        self._pause_or_resume_reading()

    def resume_writing(self) -> None:
        """Read again, and send what waited."""
        self._write_paused_s = None
        self._pause_or_resume_reading()
        self._flush_all()

    def _pause_or_resume_reading(self) -> None:
        if self._transport is None:
            return
        if self._reader.has_more or self._write_paused_s is not None:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Handle the frames that are complete."""
        self.last_received_s = self._loop.time()
        if self._is_half_closed:
            return  # read and dropped: closing a socket with unread data resets it, and loses what was sent
        self._read(data)

    def _read(self, data: bytes | None) -> None:
        """Handle frames; without data, those left by an earlier turn of the event loop."""
        try:
            if data is None:
                self._reader.resume()
            else:
                self._reader.feed(data)
        except ProtocolError as error:
            self._fail(error.code, str(error))
        except Http1Request:
            self._write(_HTTP1_ANSWER)
            self._close_transport()
        if self._reader.has_more and not self._will_resume:
            self._will_resume = True
            self._pause_or_resume_reading()
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        self._will_resume = False
        if not self.ignores_input:
            self._read(None)
        self._pause_or_resume_reading()

    # -- frames received

    @property
    def ignores_input(self) -> bool:
        """Whether the connection is closed or closing, so that further frames have no meaning."""
        return self._transport is None or self._is_half_closed or self._transport.is_closing()

    def on_data(self, stream_id: int, data: bytes, size: int, *, ended: bool) -> None:
        """Give a stream its data."""
        self._receive_window -= size
        if self._receive_window < _CONNECTION_WINDOW // 2:
            if self._receive_window < 0:
                raise ProtocolError(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection's window")
            self._write(frames.window_update(0, _CONNECTION_WINDOW - self._receive_window))
            self._receive_window = _CONNECTION_WINDOW
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_was_open(stream_id)
            return  # it was answered or cancelled before this came
        stream.receive_window -= size
        if stream.request_ended:
            self._reset(stream, ErrorCode.STREAM_CLOSED)
        elif stream.receive_window < 0:
            self._reset(stream, ErrorCode.FLOW_CONTROL_ERROR)
        else:
            stream.request_ended = ended
            stream.count_progress(len(data), self.last_received_s)
            stream.on_data(data, ended=ended)
            if not ended:
                self.update_window(stream)

    def on_block(self, stream_id: int, head: Any, *, ended: bool) -> None:  # noqa: ANN401 - the service's type
        """Open a stream by its request head, or end a request by its trailers."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._on_trailers(stream, is_valid=ended and head is TRAILERS)
        elif stream_id % 2 == 0:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} is not for clients to open")
        elif stream_id > self._last_stream_id:
            self._open(stream_id, head, ended=ended)
        elif head is not TRAILERS:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} cannot be opened any more")
        # else it was answered or cancelled before these came

    def _open(self, stream_id: int, head: Any, *, ended: bool) -> None:  # noqa: ANN401 - the service's type
        if self._shutdown.final_stream_id is not None:
            return  # by GOAWAY the client knows that this stream is not answered
        self._last_stream_id = stream_id
        if head is None or head is TRAILERS:
            self._write(frames.reset(stream_id, ErrorCode.PROTOCOL_ERROR))
        elif len(self._streams) >= self._service.max_streams or self.unsent_bytes > MAX_UNSENT_BYTES:
            self._write(frames.reset(stream_id, ErrorCode.REFUSED_STREAM))
        else:
            stream = self._service.make_stream(self, stream_id, head, ended=ended)
            if stream.is_over:
                return
            self._streams[stream_id] = stream
            if ended:
                stream.on_data(b"", ended=True)

    def _check_was_open(self, stream_id: int) -> None:
        is_new = stream_id > self._last_stream_id and self._shutdown.final_stream_id is None
        if stream_id % 2 == 0 or is_new:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, f"a frame on stream {stream_id}, which is not open")

    def _on_trailers(self, stream: Stream, *, is_valid: bool) -> None:
        if stream.request_ended:
            self._reset(stream, ErrorCode.STREAM_CLOSED)
        elif not is_valid:
            self._reset(stream, ErrorCode.PROTOCOL_ERROR)
        else:
            stream.request_ended = True
            stream.on_data(b"", ended=True)

    def on_rst_stream(self, stream_id: int) -> None:
        """End a stream that the client has cancelled."""
        self._check_was_open(stream_id)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._end(stream)

    def on_settings(self, stream_window: int | None) -> None:
        """Acknowledge SETTINGS, then apply them: clients count by the new windows from the ACK on."""
        self._write(frames.frame(frames.SETTINGS, frames.ACK, 0, b""))
        if stream_window is not None:
            self._change_stream_windows(stream_window)

    def _change_stream_windows(self, size: int) -> None:
        change = size - self.peer_stream_window
        self.peer_stream_window = size
        for stream in list(self._streams.values()):
            stream.send_window += change
            if stream.send_window > frames.LARGEST_WINDOW:
                raise ProtocolError(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window overflows")
            self._flush(stream)

    def on_ping(self, payload: bytes, *, is_reply: bool) -> None:
        """Reply to a PING, or go on with the shutdown when the client replies to ours."""
        if is_reply:
            if payload == PING_PAYLOAD and self._shutdown.has_begun:
                self._refuse_further_streams(self.last_received_s)
            return
        progress = self._last_stream_id, self._granted_bytes - self._send_window
        if not self._keepalive.allows_ping(progress, self.last_received_s):
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, _TOO_MANY_PINGS)
        self._write(frames.frame(frames.PING, frames.ACK, 0, payload))

    def on_window_update(self, stream_id: int, increment: int) -> None:
        """Send what waited for a larger window."""
        if stream_id == 0:
            if not increment:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE with an increment of 0")
            self._send_window += increment
            self._granted_bytes += increment
            if self._send_window > frames.LARGEST_WINDOW:
                raise ProtocolError(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window overflows")
            self._flush_all()
            return
        self._check_was_open(stream_id)
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.send_window += increment
            if not increment:
                self._reset(stream, ErrorCode.PROTOCOL_ERROR)
            elif stream.send_window > frames.LARGEST_WINDOW:
                self._reset(stream, ErrorCode.FLOW_CONTROL_ERROR)
            else:
                self._flush(stream)

    # -- what streams send

    def respond(self, stream: Stream, head: bytes, data: bytes, trailers: bytes) -> None:
        """Send a whole answer: header block, data, trailers."""
        size = len(data)
        allowed = min(stream.send_window, self._send_window, frames.MAX_FRAME_BYTES)
        if size <= allowed and self._write_paused_s is None:
            self._send_window -= size
            self._write(frames.response(stream.id, head, data, trailers))
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
        """Send data, then the trailers that end the answer, as soon as the windows allow."""
        if stream.outbox is None:
            stream.outbox = deque()
        if data:
            stream.outbox.append(memoryview(data))
            self.unsent_bytes += len(data)
        stream.trailers = trailers
        stream.last_progress_s = self._loop.time()
        self._flush(stream)

    def update_window(self, stream: Stream) -> None:
        """Let the client send as much more as the stream has consumed."""
        consumed = STREAM_WINDOW - stream.unread_bytes - stream.receive_window
        if consumed >= STREAM_WINDOW // 2 and not stream.is_over and not stream.request_ended:
            stream.receive_window += consumed
            stream.last_progress_s = self._loop.time()  # now it is the client's turn
            self._write(frames.window_update(stream.id, consumed))

    def drop_unsent(self, stream: Stream) -> None:
        """Drop the data that the windows hold back."""
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
        while outbox and self._write_paused_s is None:
            allowed = min(stream.send_window, self._send_window, frames.MAX_FRAME_BYTES)
            if allowed <= 0:
                break
            data = outbox[0][:allowed]
            if len(data) == len(outbox[0]):
                outbox.popleft()
            else:
                outbox[0] = outbox[0][allowed:]
            size = len(data)
            stream.send_window -= size
            self._send_window -= size
            self.unsent_bytes -= size
            stream.count_progress(size, self.last_received_s)
            pieces += (frames.HEADER.pack(size >> 8, size & 0xFF, frames.DATA, 0, stream.id), data)
        if pieces:
            self._write(b"".join(pieces))
        if outbox:
            return
        if stream.drained is not None and not stream.drained.done():
            stream.drained.set_result(None)
        if stream.trailers is not None:
            self.send_headers(stream, stream.trailers, ended=True)

    def _finish(self, stream: Stream) -> None:
        """End a stream whose answer is sent."""
        if not stream.request_ended:
            self._write(frames.reset(stream.id, ErrorCode.NO_ERROR))  # the rest of the request is not needed
        self._end(stream)

    def _reset(self, stream: Stream, code: ErrorCode) -> None:
        """End a stream without an answer."""
        self._write(frames.reset(stream.id, code))
        self._end(stream)

    def _end(self, stream: Stream) -> None:
        self._streams.pop(stream.id, None)
        self._free(stream)
        if self._shutdown.final_stream_id is not None:
            self._close_if_done()

    def _end_all(self) -> None:
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            self._free(stream)

    def _free(self, stream: Stream) -> None:
        stream.is_over = True
        self.drop_unsent(stream)
        stream.outbox = None
        if stream.drained is not None and not stream.drained.done():
            stream.drained.set_result(None)
        stream.on_over()

    def _write(self, data: bytes) -> None:
        """Write, unless the connection is closed or closing."""
        if not self.ignores_input:
            self._transport.write(data)  # type: ignore[union-attr] # without one, input is ignored

    # -- the end

    def shut_down(self) -> None:
        """Ask the client to open no more streams, and close once the open ones are answered."""
        now_s = self._loop.time()
        if self._shutdown.begin(now_s):
            self.on_preface()
            self._write(frames.go_away(frames.LARGEST_STREAM_ID, ErrorCode.NO_ERROR))
            self._write(frames.frame(frames.PING, 0, 0, PING_PAYLOAD))
            if not self._reader.has_preface:
                self._refuse_further_streams(now_s)

    def _refuse_further_streams(self, now_s: float) -> None:
        if self._shutdown.refuse_streams_after(self._last_stream_id, now_s):
            self._write(frames.go_away(self._last_stream_id, ErrorCode.NO_ERROR))
            self._close_if_done()

    def _close_if_done(self) -> None:
        """Close if no stream is left, once no more streams are answered."""
        if self._streams or self._transport is None:
            return
        self._shutdown.on_half_close(self._loop.time())
        if self._is_half_closed or self._transport.is_closing():
            return
        self._is_half_closed = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def _fail(self, code: ErrorCode, reason: str) -> None:
        """Send GOAWAY with an error, end every stream, and wait for the client to close."""
        self.on_preface()
        self._write(frames.go_away(self._last_stream_id, code, reason.encode()[:_MAX_REASON_BYTES]))
        self.half_close(code.name, reason)

    def half_close(self, code: str, reason: str) -> None:
        """End every stream, send EOF, and wait for the client to close."""
        self._service.connection_failed(self, code, reason)
        self._reader.clear()
        self._shutdown.final_stream_id = self._last_stream_id
        self._end_all()
        self._close_if_done()

    def close(self, code: ErrorCode, reason: str) -> None:
        """End the connection and every stream on it at once."""
        self._write(frames.go_away(self._last_stream_id, code, reason.encode()[:_MAX_REASON_BYTES]))
        self._close_transport()

    def _close_transport(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection without sending what is left."""
        if self._transport is not None:
            self._transport.abort()

    def _abort_because(self, reason: str) -> None:
        self._service.connection_failed(self, "GIVEN_UP", reason)
        self.abort()

    def tick(self, now_s: float) -> None:
        """Check timeouts; to be called about once a second."""
        self._continue_shutdown(now_s)
        if not self.ignores_input:
            self._check_client(now_s)

    def _continue_shutdown(self, now_s: float) -> None:
        step = self._shutdown.decide(
            now_s,
            is_closing=self._transport is not None and self._transport.is_closing(),
            is_half_closed=self._is_half_closed,
            has_unwritten=self._transport is not None and self._transport.get_write_buffer_size() > 0,
        )
        match step:
            case Step.SEND_FINAL_GOAWAY:
                self._refuse_further_streams(now_s)
            case Step.ABORT:
                self.abort()
            case Step.ABORT_STALLED:
                self._abort_because("it has hung up and does not read")

    def _check_client(self, now_s: float) -> None:
        for stream in list(self._streams.values()):
            is_stalled = now_s - stream.last_progress_s > self._service.timeouts.stall_s
            if is_stalled and stream.waits_for_client:
                stream.on_stall()
        activity = Activity(
            has_preface=self._reader.has_preface,
            last_received_s=self.last_received_s,
            write_paused_s=self._write_paused_s,
            open_block=self._reader.open_block,
            open_streams=len(self._streams),
            last_stream_id=self._last_stream_id,
            is_shutting_down=self._shutdown.has_begun,
        )
        verdict = self._keepalive.decide(activity, now_s)
        if verdict.abort_reason:
            self._abort_because(verdict.abort_reason)
        if verdict.ping:
            self._write(frames.frame(frames.PING, 0, 0, _KEEPALIVE_PAYLOAD))
        if verdict.end_streams:
            for stream in list(self._streams.values()):
                stream.on_grace_over()
        if verdict.shut_down:
            self.shut_down()
