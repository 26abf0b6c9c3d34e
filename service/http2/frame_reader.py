"""Splits a connection's bytes into frames, checks their form and reports them as events.

It knows the form of frames (RFC 9113, section 6), not which streams are open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from hpack import HPACKError, OversizedHeaderListError

from service.http2 import frames
from service.http2.frames import ErrorCode, Setting
from service.http2.headers import MAX_DECODED_BYTES, HeaderReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.http2.headers import Fields

_FRAMES_PER_TURN = 64
"""Handled in a turn of the event loop, so that other clients get theirs; a read can hold 25,000."""
_BLOCK_BYTES_PER_FRAME = 64
"""So many bytes of a header block count as one more frame, since each byte can be a field."""
_HTTP1_METHODS = {b"GET ", b"HEAD", b"POST", b"PUT ", b"OPTI"}
_TLS_HANDSHAKE = b"\x16\x03"
_PRIORITY_BYTES = 5
_UINT32_BYTES = 4
_SETTING_BYTES = 6
_PING_BYTES = 8


class ProtocolError(Exception):
    """The client has violated the protocol: a connection error, which ends the connection."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Http1Request(Exception):  # noqa: N818 - a valid request, for another port
    """The client speaks HTTP/1."""


class Events(Protocol):
    """Receives the frames."""

    @property
    def ignores_input(self) -> bool:
        """Whether further frames are not needed."""

    def on_preface(self) -> None:
        """Handle the client's preface, which shows that it speaks HTTP/2; its SETTINGS follow."""

    def on_data(self, stream_id: int, data: bytes, size: int, *, ended: bool) -> None:
        """Handle DATA; ``size`` includes the padding, as flow control counts it."""

    def on_block(self, stream_id: int, head: Any, *, ended: bool) -> None:  # noqa: ANN401 - the service's type
        """Handle a whole header block, as ``read_head`` has read it."""

    def on_rst_stream(self, stream_id: int) -> None:
        """Handle RST_STREAM."""

    def on_settings(self, stream_window: int | None) -> None:
        """Handle SETTINGS, which may change the window of streams."""

    def on_ping(self, payload: bytes, *, is_reply: bool) -> None:
        """Handle a PING, or the reply to ours."""

    def on_window_update(self, stream_id: int, increment: int) -> None:
        """Handle WINDOW_UPDATE; stream 0 is the connection."""


class FrameReader:
    """Reads the frames of one connection."""

    def __init__(self, events: Events, read_head: Callable[[Fields], Any]) -> None:
        """Expect the preface first; ``read_head`` reads the fields of header blocks."""
        self._events = events
        self._headers: HeaderReader[Any] = HeaderReader(read_head)
        self._rest = b""
        self._budget = 0
        """Frames that may still be handled in this turn."""
        self._blocks_begun = 0
        self._block: tuple[int, int, bytearray] | None = None
        """An incomplete header block, which CONTINUATION frames complete: its stream, flags and bytes."""
        self.has_preface = False
        self.has_more = False
        """Whether whole frames are left for ``resume`` in the next turn of the event loop."""

    @property
    def open_block(self) -> int | None:
        """Number of the header block that has begun and not ended."""
        return None if self._block is None else self._blocks_begun

    def feed(self, data: bytes) -> None:
        """Handle the frames that are complete, up to one turn's budget.

        Raises:
            ProtocolError: the client has violated the protocol.
            Http1Request: it speaks HTTP/1.
        """
        if self._rest:
            data = self._rest + data
        self._rest = data
        if not self.has_more:
            self.resume()

    def resume(self) -> None:
        """Handle frames that an earlier turn has left. Raises as ``feed`` does."""
        data, self._rest, self.has_more = self._rest, b"", False
        self._rest = self._read_frames(data, 0) if self.has_preface else self._read_preface(data)

    def clear(self) -> None:
        """Drop what is not handled yet."""
        self._rest = b""

    def _read_preface(self, data: bytes) -> bytes:
        start = data[: len(frames.PREFACE)]
        if not frames.PREFACE.startswith(start):
            if start[:4] in _HTTP1_METHODS:
                raise Http1Request
            if start.startswith(_TLS_HANDSHAKE):
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "it speaks TLS, and this port does not")
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "this is not HTTP/2")
        if len(data) < len(start) + frames.HEADER_BYTES or len(start) < len(frames.PREFACE):
            return data
        _, _, kind, flags, _ = frames.HEADER.unpack_from(data, len(start))
        if kind != frames.SETTINGS or flags & frames.ACK:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "the preface has no SETTINGS")
        self.has_preface = True
        self._events.on_preface()
        return self._read_frames(data, len(start))

    def _read_frames(self, data: bytes, position: int) -> bytes:
        """Handle one turn's frames; return what is left."""
        size = len(data)
        self._budget = _FRAMES_PER_TURN
        while size - position >= frames.HEADER_BYTES:
            high, low, kind, flags, stream_id = frames.HEADER.unpack_from(data, position)
            length = high << 8 | low
            if length > frames.MAX_FRAME_BYTES:
                raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            end = position + frames.HEADER_BYTES + length
            if end > size:
                break
            payload = data[position + frames.HEADER_BYTES : end]
            position = end
            stream_id &= frames.LARGEST_STREAM_ID
            if self._block is not None and kind != frames.CONTINUATION:
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "another frame within a header block")
            if kind == frames.DATA:
                if flags & frames.PADDED:
                    payload = _without_padding(payload)
                self._events.on_data(stream_id, payload, length, ended=bool(flags & frames.END_STREAM))
            elif kind < len(_OTHER_FRAMES):
                _OTHER_FRAMES[kind](self, flags, stream_id, payload)
            if self._events.ignores_input:
                return b""
            self._budget -= 1
            if self._budget <= 0:
                self.has_more = True
                break
        return data[position:]

    def _read_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags & frames.PADDED:
            payload = _without_padding(payload)
        if flags & frames.WITH_PRIORITY:
            if len(payload) < _PRIORITY_BYTES:
                raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
            payload = payload[_PRIORITY_BYTES:]
        if flags & frames.END_HEADERS:
            self._read_block(flags, stream_id, payload)
        else:
            self._block = (stream_id, flags, bytearray(payload))
            self._blocks_begun += 1

    def _read_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream_id:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without a header block")
        if not payload and not flags & frames.END_HEADERS:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, "empty CONTINUATION")
        _, first_flags, block = self._block
        block += payload
        if len(block) > MAX_DECODED_BYTES:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, f"header block over {MAX_DECODED_BYTES} bytes")
        if flags & frames.END_HEADERS:
            self._block = None
            self._read_block(first_flags, stream_id, bytes(block))

    def _read_block(self, flags: int, stream_id: int, block: bytes) -> None:
        self._budget -= len(block) // _BLOCK_BYTES_PER_FRAME
        try:
            head = self._headers.read(block)
        except OversizedHeaderListError as error:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, str(error)) from error
        except (HPACKError, IndexError, ValueError) as error:
            raise ProtocolError(ErrorCode.COMPRESSION_ERROR, "damaged header block") from error
        self._events.on_block(stream_id, head, ended=bool(flags & frames.END_STREAM))

    def _read_priority(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002 - all have one signature
        if stream_id == 0:
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        _check_size("PRIORITY", payload, _PRIORITY_BYTES)

    def _read_rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002
        _check_size("RST_STREAM", payload, _UINT32_BYTES)
        self._events.on_rst_stream(stream_id)

    def _read_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check_is_of_connection("SETTINGS", stream_id)
        if len(payload) % _SETTING_BYTES or (flags & frames.ACK and payload):
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "damaged SETTINGS")
        if flags & frames.ACK:
            return
        window = None
        for key, value in frames.read_settings(payload):
            if key == Setting.INITIAL_WINDOW_SIZE:
                window = value  # only the last one is applied: doing so costs more than sending it
                if value > frames.LARGEST_WINDOW:
                    raise ProtocolError(ErrorCode.FLOW_CONTROL_ERROR, f"a window of {value} bytes")
            elif (key == Setting.ENABLE_PUSH and value > 1) or (
                key == Setting.MAX_FRAME_SIZE and not frames.MAX_FRAME_BYTES <= value < 1 << 24
            ):
                raise ProtocolError(ErrorCode.PROTOCOL_ERROR, f"setting {key} is {value}")
        self._events.on_settings(window)

    def _read_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002
        raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE from a client")

    def _read_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check_is_of_connection("PING", stream_id)
        _check_size("PING", payload, _PING_BYTES)
        self._events.on_ping(payload, is_reply=bool(flags & frames.ACK))

    def _read_go_away(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002
        """Check it and do nothing: a client closes the connection itself when it has its answers."""
        _check_is_of_connection("GOAWAY", stream_id)
        if len(payload) < _PING_BYTES:
            raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "damaged GOAWAY")

    def _read_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002
        _check_size("WINDOW_UPDATE", payload, _UINT32_BYTES)
        self._events.on_window_update(stream_id, frames.read_uint31(payload))


_OTHER_FRAMES: tuple[Callable[[FrameReader, int, int, bytes], None], ...] = (
    lambda *_: None,  # DATA, which `_read_frames` handles itself
    FrameReader._read_headers,  # noqa: SLF001 - the class's own table
    FrameReader._read_priority,  # noqa: SLF001
    FrameReader._read_rst_stream,  # noqa: SLF001
    FrameReader._read_settings,  # noqa: SLF001
    FrameReader._read_push_promise,  # noqa: SLF001
    FrameReader._read_ping,  # noqa: SLF001
    FrameReader._read_go_away,  # noqa: SLF001
    FrameReader._read_window_update,  # noqa: SLF001
    FrameReader._read_continuation,  # noqa: SLF001
)


def _check_size(name: str, payload: bytes, size: int) -> None:
    if len(payload) != size:
        raise ProtocolError(ErrorCode.FRAME_SIZE_ERROR, f"{name} of {len(payload)} bytes, wanted {size}")


def _check_is_of_connection(name: str, stream_id: int) -> None:
    if stream_id != 0:
        raise ProtocolError(ErrorCode.PROTOCOL_ERROR, f"{name} on a stream")


def _without_padding(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]
