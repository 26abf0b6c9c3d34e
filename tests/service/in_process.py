"""A server without a socket: connections whose transport keeps what is written."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hpack import Decoder, Encoder
from hyperframe.frame import HeadersFrame, SettingsFrame

from service.http2.connection import Connection
from service.rpc.method import Method
from service.rpc.server import RpcLimits, RpcServer
from tests.service.raw_client import PREFACE, Fields, head, parsed

if TYPE_CHECKING:
    from collections.abc import Callable

    from hyperframe.frame import Frame

    from service.http2.timeouts import Timeouts
    from service.rpc.context import StreamContext, UnaryContext

ECHO = "/test/Echo"
HANG = "/test/Hang"
TALK = "/test/Talk"


class MemoryTransport(asyncio.Transport):
    """Keeps what is written; a reader that does not read is one that lets it pile up."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self.written = b""
        self.unsent = 0
        self.is_reading_ = True
        self.has_eof = False
        self.was_aborted = False
        self._is_closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.has_eof
        assert not self._is_closing
        self.written += bytes(data)

    def write_eof(self) -> None:
        assert not self.has_eof
        self.has_eof = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            if not self.unsent:
                self._lose()

    def abort(self) -> None:
        self.was_aborted = True
        if self.unsent or not self._is_closing:
            self._lose()
        self._is_closing, self.unsent = True, 0

    def _lose(self) -> None:
        asyncio.get_running_loop().call_soon(self._connection.connection_lost, None)

    def pause_reading(self) -> None:
        self.is_reading_ = False

    def resume_reading(self) -> None:
        self.is_reading_ = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def frames(self) -> list[Frame]:
        """All that was written; it must be whole frames."""
        frames, rest = parsed(self.written)
        assert not rest
        return frames


class Line:
    """A client without a socket."""

    def __init__(self, server: RpcServer, *, greet: bool = True) -> None:
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.connection = Connection(server)
        self.transport = MemoryTransport(self.connection)
        self.connection.connection_made(self.transport)
        if greet:
            self.send(PREFACE, SettingsFrame(0))

    def send(self, *frames: Frame | bytes) -> None:
        """Have each frame, or whatever bytes, arrive in a read of its own."""
        for frame in frames:
            if not self.transport.is_closing():
                self.connection.data_received(frame if isinstance(frame, bytes) else frame.serialize())

    def open(self, stream_id: int, path: str, *more: tuple[str, str], ended: bool = False) -> None:
        fields: Fields = head(path, *more)
        flags = ["END_HEADERS", "END_STREAM"] if ended else ["END_HEADERS"]
        self.send(HeadersFrame(stream_id, self.encoder.encode(fields), flags=flags))

    def frames(self, kind: type[Frame]) -> list[Any]:
        return [frame for frame in self.transport.frames() if isinstance(frame, kind)]


async def _echo(message: bytes, call: UnaryContext) -> bytes:  # noqa: ARG001 - as every handler
    return message


async def _hang(message: bytes, call: UnaryContext) -> bytes:  # noqa: ARG001 - as every handler
    await asyncio.Event().wait()
    raise AssertionError


async def _talk(call: StreamContext) -> None:
    while (message := await call.receive()) is not None:
        await call.send(message)
        call.release()


def server_of(*more: Method, timeouts: Timeouts | None = None, **limits: int) -> RpcServer:
    """Make a server of an echo, a call that is never answered, an echo of streams, and more."""
    methods = (Method(ECHO, unary=_echo), Method(HANG, unary=_hang), Method(TALK, stream=_talk), *more)
    defaults = {"max_message_bytes": 1 << 20, "max_held_bytes": 4 << 20, "max_connections": 100}
    return RpcServer(methods, RpcLimits(**{**defaults, **limits}), timeouts)


async def settle(turns: int = 20) -> None:
    """Let every task go on that can."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def until(is_so: Callable[[], object]) -> None:
    """Let the loop go on until a condition holds."""
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.001)
