"""The gRPC server: accepts connections, starts calls, enforces limits and drains."""

from __future__ import annotations

import asyncio
import contextlib
import math
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import structlog

from service.errors import OverloadedError, ServiceError
from service.http2.connection import Connection
from service.http2.frames import ErrorCode
from service.http2.stream import Stream
from service.http2.timeouts import Timeouts
from service.observability.observers import Observer
from service.observability.request_context import REQUEST_ID, sent_names, sent_request_id
from service.rpc.call import STREAM_COST_BYTES, Call
from service.rpc.refusals import RefusalLog
from service.rpc.request_head import RequestHead, read_head
from service.rpc.response_headers import trailers_only
from service.rpc.status import status_of
from service.system.listener import BACKLOG

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Mapping

    from service.http2.headers import Fields
    from service.http2.stream import Sender, Trailers
    from service.rpc.method import Method
    from service.rpc.status import Status

_TICK_S = 1.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class RpcLimits:
    """Limits on clients' requests."""

    max_message_bytes: int
    max_held_bytes: int
    """Of all open requests; calls beyond are refused."""
    max_connections: int
    max_streams: int = 1_024
    """Concurrent calls on one connection; clients queue further ones."""
    decompression_threads: int = 1


class Security(Protocol):
    """Encrypts connections and authorizes calls."""

    def wrap(self, connection: Connection) -> asyncio.BaseProtocol:
        """Return the protocol for a connection's socket: the connection itself, or a TLS layer around it."""

    def admit(self, path: str, metadata: Mapping[bytes, bytes]) -> None:
        """Admit a call of ``/package.Service/Method`` with these header fields, or raise a ServiceError."""


class RpcServer:
    """Answers calls on any number of connections, within one event loop."""

    def __init__(  # noqa: PLR0913 - the parts of a server
        self,
        methods: Iterable[Method],
        limits: RpcLimits,
        timeouts: Timeouts | None = None,
        *,
        on_closed: Callable[[], None] | None = None,
        observer: Observer | None = None,
        security: Security | None = None,
    ) -> None:
        """Prepare a server; call it within the event loop.

        Args:
            methods: the RPC methods.
            limits: on clients' requests.
            timeouts: of connections.
            on_closed: called whenever a connection has ended.
            observer: receives calls and refusals.
            security: encryption and authorization; None means plaintext, and everything is allowed.
        """
        self.loop = asyncio.get_running_loop()
        self.timeouts = timeouts or Timeouts()
        self.max_streams = limits.max_streams
        self.max_message_bytes = limits.max_message_bytes
        self.max_held_bytes = limits.max_held_bytes
        self.held_bytes = 0
        """Bytes of all open requests."""
        self.observer = observer or Observer()
        self._refusals = RefusalLog()
        self.decompressor: Executor = ThreadPoolExecutor(
            limits.decompression_threads, thread_name_prefix="decompress"
        )
        self._methods = {method.path.encode(): method for method in methods}
        self._max_connections = limits.max_connections
        self._on_closed = on_closed
        self._security = security
        self._connections: set[Connection] = set()
        self._streaming_calls: set[Call] = set()
        """Open streaming calls, which a stopping server asks to end."""
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self._is_stopping = False
        self._listener: asyncio.Server | None = None
        self._ticking = self.loop.create_task(self._tick(), name="tick")

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._connections)

    @property
    def calls(self) -> int:
        """Number of open calls."""
        return sum(connection.streams for connection in self._connections)

    @property
    def streams(self) -> int:
        """Number of open streaming calls."""
        return len(self._streaming_calls)

    async def listen(self, listener: socket.socket) -> None:
        """Accept connections from a bound socket."""
        self._listener = await self.loop.create_server(self._connect, sock=listener, backlog=BACKLOG)

    async def take(self, connected: socket.socket) -> None:
        """Serve a connection that another process has accepted."""
        await self.loop.connect_accepted_socket(self._connect, connected)

    def _connect(self) -> asyncio.BaseProtocol:
        connection = Connection(self)
        return connection if self._security is None else self._security.wrap(connection)

    async def drain(self, grace_s: float) -> bool:
        """Accept no more connections and calls, and finish the open ones.

        Streaming calls are asked to end. GOAWAY tells clients which calls are not answered, so that they can
        send them to another server. Returns whether everything was finished within the grace period.
        """
        self._is_stopping = True
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.shut_down()
        for call in list(self._streaming_calls):
            call.stop()
        try:
            async with asyncio.timeout(grace_s):
                await self._all_closed.wait()
        except TimeoutError:
            return not self.calls
        return True

    def recheck_calls(self) -> None:
        """End streaming calls that would not be admitted any more; unary calls are short and are answered."""
        for call in list(self._streaming_calls):
            try:
                self._security.admit(call.path, call.metadata)  # type: ignore[union-attr] # its rules have changed
            except ServiceError as error:
                call.fail(error)

    def ask_to_reconnect(self) -> None:
        """Ask every client to reconnect, by a graceful shutdown of its connection."""
        for connection in list(self._connections):
            connection.shut_down()

    async def close(self) -> None:
        """End everything that is left at once."""
        self._is_stopping = True
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.close(ErrorCode.NO_ERROR, "the server stops")
        self.decompressor.shutdown(wait=False, cancel_futures=True)
        self._ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._ticking
        self._refusals.flush(math.inf)

    # -- for connections and calls

    def read_head(self, fields: Fields) -> RequestHead | Trailers | None:
        """Read the fields of a header block; see ``service.rpc.request_head``."""
        return read_head(fields, self._methods)

    def make_stream(self, sender: Sender, stream_id: int, head: RequestHead, *, ended: bool) -> Stream:
        """Start a call, or refuse it."""
        if head.method is None:
            self._refused_head("request refused", "HEAD", head, sender, head.reason)
            return _refuse(sender, stream_id, head.refusal or b"", ended=ended)
        try:
            self._admit(head.method, head)
        except ServiceError as error:
            status = status_of(error)
            self._refused_head("call refused", status.code.name, head, sender, status.message)
            if (request_id := sent_request_id(head.metadata)) is not None:
                status = status.with_metadata(REQUEST_ID, request_id)
            return _refuse(sender, stream_id, trailers_only(status), ended=ended)
        call = Call(sender, stream_id, head, head.method, self, ended=ended)
        if head.method.stream is not None:
            self._streaming_calls.add(call)
            if self._is_stopping:
                call.stop()
        return call

    def _admit(self, method: Method, head: RequestHead) -> None:
        if self._security is not None:
            self._security.admit(method.path, head.metadata)
        if method.stream is not None and not self._has_room_for_stream():
            raise OverloadedError("the server can hold no more requests and streams; retry with backoff")

    def _has_room_for_stream(self) -> bool:
        """Whether one more stream fits; idle streams leave half of the memory to requests."""
        idle_bytes = (len(self._streaming_calls) + 1) * STREAM_COST_BYTES
        fits = self.held_bytes + STREAM_COST_BYTES <= self.max_held_bytes
        return fits and idle_bytes <= self.max_held_bytes // 2

    def forget(self, call: Call) -> None:
        """Drop a streaming call that is over."""
        self._streaming_calls.discard(call)

    def connection_opened(self, connection: Connection) -> bool:
        """Count a connection; False if there are too many."""
        if len(self._connections) >= self._max_connections:
            reason = f"there are {self.connections:,}"
            self.refused("connection turned away", "TOO_MANY", reason=reason)
            return False
        self._connections.add(connection)
        self._all_closed.clear()
        if self._is_stopping:
            connection.shut_down()
        return True

    def connection_failed(self, connection: Connection, code: str, reason: str) -> None:
        """Log a connection that is ended because of what its client did or failed to do."""
        self.refused("connection broken off", code, reason=reason, peer=connection.peer)

    def refused(self, event: str, kind: str, **facts: str) -> None:
        """Log and count a refusal; ``kind`` is one of few for each event."""
        self._refusals.note(event, kind, self.loop.time(), lambda: facts)
        self.observer.on_refusal(event, kind)

    def _refused_head(self, event: str, kind: str, head: RequestHead, sender: Sender, reason: str) -> None:
        """Log and count a request that did not become a call."""
        method = "" if head.method is None else head.method.path
        facts = partial(sent_names, head.metadata, reason=reason, peer=sender.peer)
        self._refusals.note(event, kind, self.loop.time(), facts, method=method)
        self.observer.on_refusal(event, kind)

    def log_failure(self, call: Call, status: Status) -> None:
        """Log and count a call, or a message of it, that was refused or has failed."""
        now_s = self.loop.time()
        if status.failure is None:
            facts = partial(call.facts, reason=status.message)
            self._refusals.note("call refused", status.code.name, now_s, facts, method=call.path)
            self.observer.on_refusal("call refused", status.code.name)
        else:
            self._refusals.note(
                "call failed", status.code.name, now_s, call.facts, method=call.path, error=status.failure
            )

    def connection_closed(self, connection: Connection) -> None:
        """Uncount a connection."""
        self._connections.discard(connection)
        if not self._connections:
            self._all_closed.set()
        if self._on_closed is not None:
            self._on_closed()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            now_s = self.loop.time()
            self._refusals.flush(now_s)
            for connection in list(self._connections):
                try:
                    connection.tick(now_s)
                except Exception:  # noqa: BLE001 - ends this connection alone
                    _log.exception("connection failed", peer=connection.peer)
                    connection.abort()


def _refuse(sender: Sender, stream_id: int, answer: bytes, *, ended: bool) -> Stream:
    """Answer a request by one header block."""
    stream = Stream(sender, stream_id, request_ended=ended)
    sender.send_headers(stream, answer, ended=True)
    return stream
