"""Serves our handlers by grpcio's own server, grpc.aio.

It takes the same ``Method`` objects as ``service.rpc.server.RpcServer``, to compare the two: their speed by
``benchmarks.fronts``, their answers by a test. Not for production: it bounds neither held bytes nor
connections, has no authorization, and its GOAWAY is grpcio's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc

from service.errors import Code
from service.observability.observers import Observer
from service.observability.request_context import (
    REQUEST_ID,
    new_request_id,
    sent_names,
    sent_request_id,
)
from service.observability.timing import clock
from service.rpc.refusals import RefusalLog
from service.rpc.status import status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from service.rpc.method import Method
    from service.rpc.status import Status

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcioServer:
    """A ``grpc.aio`` server for our methods."""

    def __init__(
        self, methods: Iterable[Method], max_message_bytes: int, observer: Observer | None = None
    ) -> None:
        self._observer = observer or Observer()
        self._refusals = RefusalLog()
        self._calls: set[GrpcioCall] = set()
        """Open streaming calls, which a stopping server asks to end."""
        options = (("grpc.max_receive_message_length", max_message_bytes), ("grpc.so_reuseport", 0))
        self._server = grpc.aio.server(options=options)
        for method in methods:
            _, service, name = method.path.split("/")
            handler = grpc.method_handlers_generic_handler(service, {name: self._handler(method)})
            self._server.add_generic_rpc_handlers((handler,))

    async def listen(self, address: str) -> int:
        """Start at ``host:port``; return the port, a free one for port 0."""
        port = self._server.add_insecure_port(address)
        await self._server.start()
        return port

    async def stop(self, grace_s: float) -> None:
        """Ask streaming calls to end, and finish the open calls within the grace period."""
        for call in self._calls:
            call.stop()
        await self._server.stop(grace_s)

    def log_failure(self, call: GrpcioCall, status: Status) -> None:
        """Log and count a call, or a message of it, that was refused or has failed."""
        event = "call refused" if status.failure is None else "call failed"
        now_s = asyncio.get_running_loop().time()
        facts = call.facts if status.failure is not None else lambda: call.facts(reason=status.message)
        self._refusals.note(event, status.code.name, now_s, facts, method=call.path, error=status.failure)
        if status.failure is None:
            self._observer.on_refusal(event, status.code.name)

    def _handler(self, method: Method) -> grpc.RpcMethodHandler[bytes, bytes]:
        if method.unary is not None:
            unary: Callable[..., Any] = _unary(method, self)
            return grpc.unary_unary_rpc_method_handler(unary)
        stream: Callable[..., Any] = _stream(method, self)
        return grpc.stream_stream_rpc_method_handler(stream)

    def opened(self, method: Method, context: grpc.aio.ServicerContext[bytes, bytes]) -> GrpcioCall:
        """Begin a call."""
        call = GrpcioCall(method, context, self, self._observer)
        if call.is_stream:
            self._calls.add(call)
        return call

    def closed(self, call: GrpcioCall) -> None:
        """Count a call that is over."""
        self._calls.discard(call)
        self._observer.on_call(call)


def _unary(method: Method, server: GrpcioServer) -> Callable[..., Any]:
    async def answer(message: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        call = server.opened(method, context)
        try:
            reply = await method.unary(message, call)  # type: ignore[misc] # it is set
        except Exception as error:
            await call.fail(error)
            raise
        else:
            call.succeed()
            return reply
        finally:
            server.closed(call)

    return answer


def _stream(method: Method, server: GrpcioServer) -> Callable[..., Any]:
    async def converse(_: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        call = server.opened(method, context)
        try:
            await method.stream(call)  # type: ignore[misc] # it is set
        except Exception as error:  # noqa: BLE001 - the boundary: no details may reach the client
            await call.fail(error)
        else:
            call.succeed()
        finally:
            server.closed(call)

    return converse


class GrpcioCall:
    """A call; implements ``UnaryContext`` and ``StreamContext`` for its handler."""

    def __init__(
        self,
        method: Method,
        context: grpc.aio.ServicerContext[bytes, bytes],
        server: GrpcioServer,
        observer: Observer,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._rpc = context
        self._server = server
        self._observer = observer
        self.began_s = clock()
        self.path = method.path
        self.is_stream = method.stream is not None
        self.metadata = _joined(context.invocation_metadata() or ())
        self.peer = context.peer().partition(":")[2]  # behind "ipv4:"
        remaining_s = context.time_remaining()
        self.deadline_s = None if remaining_s is None else loop.time() + remaining_s
        self.code = Code.CANCELLED
        self.context: object = None
        self.images = 0
        self.trailing_metadata: Mapping[str, str] | None = None
        self.on_stop: Callable[[], None] | None = None
        self._request_id = sent_request_id(self.metadata) or ""
        self._stopped: asyncio.Future[None] = loop.create_future()
        self._has_ended = False
        """Whether the client has sent its last message."""

    @property
    def is_stopping(self) -> bool:
        """Whether the server has asked the call to end."""
        return self._stopped.done()

    @property
    def is_cut_short(self) -> bool:
        """Whether the server stops before the end of the request, so that messages may be unanswered."""
        return self.is_stopping and not self._has_ended

    def facts(self, **more: str) -> dict[str, str]:
        """Return fields for a line of the log that identify the call and its caller."""
        self._request_id = self._request_id or new_request_id()
        facts = sent_names(self.metadata, **more, peer=self.peer, request_id=self._request_id)
        facts.update(self._observer.describe(self))
        return facts

    async def receive(self) -> bytes | None:
        """Wait for the next message; None when there are no more, or the server stops."""
        if self._has_ended or self.is_stopping:
            return None
        reading = asyncio.ensure_future(self._rpc.read())
        await asyncio.wait((reading, self._stopped), return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            reading.cancel()
            return None
        message = reading.result()
        if isinstance(message, bytes):
            return message
        self._has_ended = True  # it is grpc.aio.EOF
        return None

    def release(self, count: int = 1) -> None:
        """Do nothing: grpcio opens its windows by itself."""

    async def send(self, *messages: bytes) -> None:
        """Send messages; wait while grpcio cannot take more."""
        for message in messages:
            await self._rpc.write(message)

    def log_failure(self, status: Status) -> None:
        """Log that this call, or a message of it, was refused or has failed."""
        self._server.log_failure(self, status)

    def stop(self) -> None:
        """Ask a streaming call to end."""
        if not self._stopped.done():
            self._stopped.set_result(None)
        if self.on_stop is not None:
            self.on_stop()

    def succeed(self) -> None:
        """End with OK; grpcio sends the trailers when the handler returns."""
        self.code = Code.OK
        self._set_trailers(self.trailing_metadata or {})

    async def fail(self, error: Exception) -> None:
        """End with the status of an exception."""
        status = status_of(error)
        self.code = status.code
        self.log_failure(status)
        metadata = status.metadata
        if status.failure is not None:
            metadata = {**metadata, REQUEST_ID: self._request_id}
        self._set_trailers(metadata)
        await self._rpc.abort(_CODES[status.code], status.message)

    def _set_trailers(self, metadata: Mapping[str, str]) -> None:
        sent = sent_request_id(self.metadata)
        more = {} if sent is None else {REQUEST_ID: sent}
        self._rpc.set_trailing_metadata(tuple({**metadata, **more}.items()))


def _joined(metadata: Iterable[tuple[str, str | bytes]]) -> dict[bytes, bytes]:
    """Return metadata as bytes; repeated entries are joined by commas."""
    joined: dict[bytes, bytes] = {}
    for name, value in metadata:
        key, text = name.encode(), value if isinstance(value, bytes) else value.encode()
        joined[key] = joined[key] + b"," + text if key in joined else text
    return joined
