"""The server's side of gRPC: listens, makes calls of what clients send, and parts from them in order.

In: methods, and sockets. Out: calls of those methods. Counts the bytes of all requests under way, and how
many connections there are. Knows nothing of what the methods do.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import structlog

from service.errors import OverloadedError, ServiceError
from service.http2.connection import Connection
from service.http2.frames import ErrorCode
from service.http2.stream import Patience, Stream
from service.observability.observers import Observer
from service.observability.request_context import REQUEST_ID, sent_names, sent_request_id
from service.rpc.call import STREAM_COST_BYTES, Call
from service.rpc.refusals import RefusalLog
from service.rpc.request_head import Head, read_head
from service.rpc.status import status_of
from service.system.listener import BACKLOG

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Mapping

    from service.http2.headers import Fields
    from service.http2.stream import Trailers
    from service.rpc.method import Method
    from service.rpc.status import Status

_TICK_S = 1.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class RpcLimits:
    """What the clients of a server may ask of it."""

    max_message_bytes: int
    max_held_bytes: int
    """Of all requests under way; a call beyond is refused."""
    max_connections: int
    max_streams: int = 1_024
    """Calls at a time on one connection; clients wait with more."""
    unfolding_threads: int = 1
    """For compressed messages."""


class Protection(Protocol):
    """What stands between clients and the server."""

    def wrap(self, connection: Connection) -> asyncio.BaseProtocol:
        """Return what a connection's socket talks to: the connection itself, or what encrypts it."""

    def admit(self, path: str, metadata: Mapping[bytes, bytes]) -> None:
        """Let a call of ``/package.Service/Method`` with these fields pass, or raise a ServiceError."""


class RpcServer:
    """Answers calls on any number of connections, within one event loop."""

    def __init__(  # noqa: PLR0913 - what a server is made of
        self,
        methods: Iterable[Method],
        limits: RpcLimits,
        patience: Patience | None = None,
        *,
        on_closed: Callable[[], None] | None = None,
        observer: Observer | None = None,
        protection: Protection | None = None,
    ) -> None:
        """Make a server of some methods.

        Args:
            methods: what can be called.
            limits: what clients may ask.
            patience: how long they may take.
            on_closed: is told of each connection that has ended.
            observer: is told of calls and refusals.
            protection: whom it lets in; None is everybody, unencrypted.
        """
        self.loop = asyncio.get_running_loop()
        self.patience = patience or Patience()
        self.max_streams = limits.max_streams
        self.max_message_bytes = limits.max_message_bytes
        self.max_held_bytes = limits.max_held_bytes
        self.held_bytes = 0
        """Of all requests under way."""
        self.observer = observer or Observer()
        self._refusals = RefusalLog()
        self.unfolding = ThreadPoolExecutor(limits.unfolding_threads, thread_name_prefix="unfold")
        self._methods = {method.path.encode(): method for method in methods}
        self._max_connections = limits.max_connections
        self._on_closed = on_closed
        self._protection = protection
        self._connections: set[Connection] = set()
        self._calls: set[Call] = set()
        """Streaming calls, which a stopping server asks to end."""
        self._gone = asyncio.Event()
        self._gone.set()
        self._is_stopping = False
        self._listener: asyncio.Server | None = None
        self._ticking = self.loop.create_task(self._tick(), name="tick")

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._connections)

    @property
    def calls(self) -> int:
        """How many calls are under way."""
        return sum(connection.streams for connection in self._connections)

    @property
    def streams(self) -> int:
        """How many of them are streaming calls."""
        return len(self._calls)

    async def listen(self, listener: socket.socket) -> None:
        """Accept connections from a bound socket."""
        self._listener = await self.loop.create_server(self._connect, sock=listener, backlog=BACKLOG)

    async def take(self, connected: socket.socket) -> None:
        """Serve a connection that was accepted elsewhere."""
        await self.loop.connect_accepted_socket(self._connect, connected)

    def _connect(self) -> asyncio.BaseProtocol:
        connection = Connection(self)
        return connection if self._protection is None else self._protection.wrap(connection)

    async def drain(self, grace_s: float) -> bool:
        """Accept no more connections and calls, and answer those that have come.

        Streaming calls are asked to end. Clients are told which calls are not answered, so that they can
        send them elsewhere. Returns whether all was done within the grace period.
        """
        self._is_stopping = True
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.say_goodbye()
        for call in list(self._calls):
            call.stop()
        try:
            async with asyncio.timeout(grace_s):
                await self._gone.wait()
        except TimeoutError:
            return not self.calls
        return True

    def admit_again(self) -> None:
        """End streaming calls that would not be admitted any more; others are short and are answered."""
        for call in list(self._calls):
            try:
                self._protection.admit(call.path, call.metadata)  # type: ignore[union-attr] # what has changed
            except ServiceError as error:
                call.revoke(error)

    def part(self) -> None:
        """Ask every client to connect anew."""
        for connection in list(self._connections):
            connection.say_goodbye()

    async def close(self) -> None:
        """End at once whatever is left."""
        self._is_stopping = True
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.close(ErrorCode.NO_ERROR, "the server stops")
        self.unfolding.shutdown(wait=False, cancel_futures=True)
        self._ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._ticking
        self._refusals.say_rest(math.inf)

    # -- what connections ask

    def make_head(self, fields: Fields) -> Head | Trailers | None:
        """Read a header block's fields."""
        return read_head(fields, self._methods)

    def make_stream(self, connection: Connection, stream_id: int, head: Head, *, ended: bool) -> Stream:
        """Begin a call, or refuse it."""
        if head.method is None:
            self._refused_head("request refused", "HEAD", head, connection, head.reason)
            return _Refusal(connection, stream_id, head.refusal or b"", ended=ended)
        try:
            self._admit(head.method, head)
        except ServiceError as error:
            status = status_of(error)
            self._refused_head("call refused", status.code.name, head, connection, status.message)
            if (request_id := sent_request_id(head.metadata)) is not None:
                status = status.with_metadata(REQUEST_ID, request_id)
            return _Refusal(connection, stream_id, status.whole_answer(), ended=ended)
        call = Call(connection, stream_id, head, head.method, self, ended=ended)
        if head.method.stream is not None:
            self._calls.add(call)
            if self._is_stopping:
                call.stop()
        return call

    def _admit(self, method: Method, head: Head) -> None:
        if self._protection is not None:
            self._protection.admit(method.path, head.metadata)
        if method.stream is not None and not self._has_room_for_stream():
            raise OverloadedError("the server holds as many requests and streams as it may; come again")

    def _has_room_for_stream(self) -> bool:
        """Whether it fits; streams that do nothing leave half of the room to requests."""
        idle_bytes = (len(self._calls) + 1) * STREAM_COST_BYTES
        fits = self.held_bytes + STREAM_COST_BYTES <= self.max_held_bytes
        return fits and idle_bytes <= self.max_held_bytes // 2

    def forget(self, call: Call) -> None:
        """Learn that a streaming call is over."""
        self._calls.discard(call)

    def opened(self, connection: Connection) -> bool:
        """Count a connection in, unless there are too many."""
        if len(self._connections) >= self._max_connections:
            reason = f"there are {self.connections:,}"
            self.refused("connection turned away", "TOO_MANY", reason=reason)
            return False
        self._connections.add(connection)
        self._gone.clear()
        if self._is_stopping:
            connection.say_goodbye()
        return True

    def broken_off(self, connection: Connection, code: str, reason: str) -> None:
        """Have the log say so."""
        self.refused("connection broken off", code, reason=reason, peer=connection.peer)

    def refused(self, event: str, kind: str, **facts: str) -> None:
        """Have the log and the observer know what was refused; there are few kinds of each event."""
        self._refusals.note(event, kind, self.loop.time(), lambda: facts)
        self.observer.on_refusal(event, kind)

    def _refused_head(self, event: str, kind: str, head: Head, connection: Connection, reason: str) -> None:
        """Likewise, of a request that did not become a call."""
        method = "" if head.method is None else head.method.path
        facts = partial(sent_names, head.metadata, reason=reason, peer=connection.peer)
        self._refusals.note(event, kind, self.loop.time(), facts, method=method)
        self.observer.on_refusal(event, kind)

    def ended_badly(self, call: Call, status: Status) -> None:
        """Have the log, and the observer, know of a call, or a message of it, that was not answered well."""
        now_s = self.loop.time()
        if status.failure is None:
            facts = partial(call.facts, reason=status.message)
            self._refusals.note("call refused", status.code.name, now_s, facts, method=call.path)
            self.observer.on_refusal("call refused", status.code.name)
        else:
            self._refusals.note(
                "call failed", status.code.name, now_s, call.facts, method=call.path, error=status.failure
            )

    def closed(self, connection: Connection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)
        if not self._connections:
            self._gone.set()
        if self._on_closed is not None:
            self._on_closed()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            now_s = self.loop.time()
            self._refusals.say_rest(now_s)
            for connection in list(self._connections):
                try:
                    connection.tick(now_s)
                except Exception:  # noqa: BLE001 - of one connection: the others are still looked after
                    _log.exception("connection failed", peer=connection.peer)
                    connection.abort()


class _Refusal(Stream):
    """A call that is answered by its head alone."""

    __slots__ = ()

    def __init__(self, connection: Connection, stream_id: int, answer: bytes, *, ended: bool) -> None:
        super().__init__(connection, stream_id, request_ended=ended)
        connection.send_headers(self, answer, ended=True)

    def on_data(self, data: bytes, *, ended: bool) -> None:
        """Nothing of it is wanted."""

    def on_over(self) -> None:
        """It held nothing."""

    def on_stall(self) -> None:
        """It is over before that."""

    def on_parting(self) -> None:
        """It is over before that."""
