"""HTTP/2 clients that can misbehave, built on the hyper project's libraries, without code of the service.

``Wire`` sends any frames in any order; ``Peer`` is h2's client, which fails where the server breaks a rule.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import hpack
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LIST_MODELS = "/cifar10net.v1.Classifier/ListModels"
CLASSIFY = "/cifar10net.v1.Classifier/Classify"
CLASSIFY_STREAM = "/cifar10net.v1.Classifier/ClassifyStream"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
EMPTY_MESSAGE = bytes(5)
_WAIT_S = 60

Fields = list[tuple[str, str]]


def framed(message: bytes, *, compressed: bool = False) -> bytes:
    return struct.pack(">BL", compressed, len(message)) + message


def bomb(wbits: int = 31) -> bytes:
    """Return 1 MiB of data that decompresses to 1 GiB of zeros; its end, never to be reached, is missing."""
    packer = zlib.compressobj(wbits=wbits)
    first, repeated = (packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + repeated * 1023


def unframed(data: bytes) -> list[bytes]:
    messages = []
    while data:
        compressed, size = struct.unpack_from(">BL", data)
        assert not compressed
        messages.append(data[5 : 5 + size])
        assert len(messages[-1]) == size
        data = data[5 + size :]
    return messages


def head(path: str = LIST_MODELS, *more: tuple[str, str], without: Iterable[str] = ()) -> Fields:
    """Return the fields of a request, some left out and some added at the end."""
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]
    return [(name, value) for name, value in fields if name not in without] + list(more)


def raw_frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HBBBL", len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream_id) + payload


def parsed(data: bytes) -> tuple[list[Frame], bytes]:
    """Split bytes into frames and what is left."""
    frames = []
    while len(data) >= 9:
        frame, length = Frame.parse_frame_header(memoryview(data[:9]))
        if len(data) < 9 + length:
            break
        frame.parse_body(memoryview(data[9 : 9 + length]))
        frames.append(frame)
        data = data[9 + length :]
    return frames, data


@dataclass
class Answer:
    """All that came on one stream."""

    head: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    reset: int | None = None

    @property
    def messages(self) -> list[bytes]:
        return unframed(self.data)

    @property
    def status(self) -> int | None:
        text = (self.trailers or self.head).get("grpc-status")
        return None if text is None else int(text)

    @property
    def reason(self) -> str:
        return (self.trailers or self.head).get("grpc-message", "")


class Wire:
    """A connection that sends exactly the given frames."""

    def __init__(self, address: str, settings: dict[int, int] | None = None, *, preface: bool = True) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=_WAIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.frames: list[Frame] = []
        self.encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._rest = b""
        self._answers: dict[int, Answer] = {}
        self._ended: set[int] = set()
        self.is_at_end = False
        if preface:
            self.send(PREFACE, SettingsFrame(0, settings=settings or {}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def send(self, *frames: Frame | bytes) -> None:
        self.socket.sendall(
            b"".join(frame if isinstance(frame, bytes) else frame.serialize() for frame in frames)
        )

    def open(self, stream_id: int, fields: Fields | None = None, *, ended: bool = False) -> None:
        block = self.encoder.encode(fields or head())
        flags = ["END_HEADERS", "END_STREAM"] if ended else ["END_HEADERS"]
        self.send(HeadersFrame(stream_id, block, flags=flags))

    def data(self, stream_id: int, data: bytes, *, ended: bool = False) -> None:
        """Send data of any size; without regard to windows."""
        starts = range(0, len(data), 16_384) if data else (0,)
        for start in starts:
            last = ended and start + 16_384 >= len(data)
            piece = data[start : start + 16_384]
            self.send(DataFrame(stream_id, piece, flags=["END_STREAM"] if last else []))

    def ask(self, stream_id: int, path: str = LIST_MODELS, message: bytes = b"") -> Answer:
        """Make a whole call and wait for its answer."""
        self.open(stream_id, head(path))
        self.data(stream_id, framed(message), ended=True)
        return self.answer(stream_id)

    def answer(self, stream_id: int) -> Answer:
        """Wait for the end of a stream."""
        self.read_until(lambda _: stream_id in self._ended)
        return self._answers[stream_id]

    def so_far(self, stream_id: int) -> Answer:
        return self._answers.setdefault(stream_id, Answer())

    def fence(self) -> None:
        """Wait until the server has taken all that was sent."""
        before = sum(_is_pong(frame) for frame in self.frames)
        self.send(PingFrame(0, b"fence..."))
        self.read_until(lambda _: sum(map(_is_pong, self.frames)) > before)

    def read_until(self, is_wanted: Callable[[Frame | None], bool]) -> None:
        """Read frames until, behind one of them, or before any, the condition holds."""
        while not is_wanted(self.frames[-1] if self.frames else None):
            assert not self.is_at_end, f"the connection ended after {self.frames}"
            self._read()

    def read_to_end(self) -> list[Frame]:
        """Read until the server closes; returns all frames ever received."""
        while not self.is_at_end:
            self._read()
        return self.frames

    def goodbye(self) -> GoAwayFrame:
        """Read to the end, and return the last GOAWAY."""
        return [frame for frame in self.read_to_end() if isinstance(frame, GoAwayFrame)][-1]

    def _read(self) -> None:
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        self.is_at_end = not data
        frames, self._rest = parsed(self._rest + data)
        for frame in frames:
            self._note(frame)
            self.frames.append(frame)
            if isinstance(frame, PingFrame) and not _is_pong(frame):
                with contextlib.suppress(OSError):
                    self.send(PingFrame(0, frame.opaque_data, flags=["ACK"]))

    def _note(self, frame: Frame) -> None:
        answer = self._answers.setdefault(frame.stream_id, Answer())
        if isinstance(frame, HeadersFrame):
            fields = {str(name): str(value) for name, value in self._decoder.decode(frame.data)}
            if answer.head:
                answer.trailers = fields
            else:
                answer.head = fields
        elif isinstance(frame, DataFrame):
            answer.data += frame.data
        elif isinstance(frame, RstStreamFrame):
            if frame.stream_id not in self._ended:
                answer.reset = frame.error_code
            self._ended.add(frame.stream_id)
        if isinstance(frame, DataFrame | HeadersFrame) and "END_STREAM" in frame.flags:
            self._ended.add(frame.stream_id)


def _is_pong(frame: Frame) -> bool:
    return isinstance(frame, PingFrame) and "ACK" in frame.flags


class Peer:
    """A client that keeps to the rules, by h2."""

    def __init__(self, address: str, **settings: int) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=_WAIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.answers: dict[int, Answer] = {}
        self.ended: set[int] = set()
        self.goodbyes: list[int] = []
        self.pongs = 0
        self.is_at_end = False
        self.h2.initiate_connection()
        self.set(**settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def set(self, **settings: int) -> None:
        """Send SETTINGS, by h2's names such as ``INITIAL_WINDOW_SIZE``; has effect once acknowledged."""
        from h2.settings import SettingCodes  # noqa: PLC0415 - named by strings

        if settings:
            self.h2.update_settings({SettingCodes[name]: value for name, value in settings.items()})
        self.flush()

    def begin(self, path: str, data: bytes = b"", *, ended: bool = True) -> int:
        """Open a stream, and send data that fits into its window."""
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, head(path))
        self.flush()
        self.send(stream_id, data, ended=ended)
        return stream_id

    def send(self, stream_id: int, data: bytes, *, ended: bool = False) -> None:
        """Send as far as the windows allow, waiting for them."""
        while data:
            room = min(self.h2.local_flow_control_window(stream_id), 16_384, len(data))
            if room:
                self.h2.send_data(stream_id, data[:room])
                data = data[room:]
                self.flush()
            else:
                self.read()
        if ended:
            self.h2.end_stream(stream_id)
            self.flush()

    def answer(self, stream_id: int) -> Answer:
        self.read_until(lambda: stream_id in self.ended)
        return self.answers[stream_id]

    def so_far(self, stream_id: int) -> Answer:
        return self.answers.setdefault(stream_id, Answer())

    def read_until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            assert not self.is_at_end
            self.read()

    def fence(self) -> None:
        """Wait until the server has taken all that was sent."""
        before = self.pongs
        self.h2.ping(b"fence...")
        self.flush()
        self.read_until(lambda: self.pongs > before)

    def read(self) -> None:
        data = self.socket.recv(1 << 16)
        self.is_at_end = not data
        for event in self.h2.receive_data(data):
            self._note(event)
        self.flush()

    def widen(self, stream_id: int, size: int) -> None:
        """Let the server send more; on stream 0, on the connection."""
        self.h2.increment_flow_control_window(size, stream_id or None)
        self.flush()

    def _note(self, event: Event) -> None:
        match event:
            case ResponseReceived():
                self.so_far(event.stream_id).head = dict(event.headers)  # type: ignore[arg-type]
            case TrailersReceived():
                self.so_far(event.stream_id).trailers = dict(event.headers)  # type: ignore[arg-type]
            case DataReceived():
                self.so_far(event.stream_id).data += event.data
            case StreamReset():
                if event.stream_id not in self.ended:
                    self.so_far(event.stream_id).reset = int(event.error_code)
                self.ended.add(event.stream_id)
            case StreamEnded():
                self.ended.add(event.stream_id)
            case ConnectionTerminated():
                self.goodbyes.append(int(event.last_stream_id or 0))
            case PingAckReceived():
                self.pongs += 1
            case _:
                pass
