"""A call: assembles the request, runs the handler, sends the answer or a status.

A call ends exactly once: answered, refused, at its deadline, cancelled by the client, or with its connection.
Then its handler is cancelled and everything it held is freed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

from service.errors import (
    Code,
    DeadlineError,
    InvalidRequestError,
    NotServingError,
    OverloadedError,
    StalledRequestError,
)
from service.http2.connection import MAX_UNSENT_BYTES
from service.http2.stream import STREAM_WINDOW, Stream
from service.observability.request_context import (
    REQUEST_ID,
    REQUEST_ID_KEY,
    new_request_id,
    sent_names,
    sent_request_id,
)
from service.observability.timing import clock
from service.rpc.messages import PREFIX_BYTES, MessageReader, decompress, framed, only_message
from service.rpc.response_headers import RESPONSE_HEAD, ok_trailers, trailers, trailers_only
from service.rpc.status import status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor

    from service.http2.stream import Sender
    from service.http2.timeouts import Timeouts
    from service.observability.observers import Observer
    from service.rpc.method import Method
    from service.rpc.request_head import RequestHead
    from service.rpc.status import Status

_OK = ok_trailers()
STREAM_COST_BYTES = 8 << 10
"""Memory of an open stream, idle or not."""
_MESSAGE_COST_BYTES = 1_024
"""Memory to answer a message of a stream, beside its bytes: for small messages this is far more."""


class Host(Protocol):
    """What a call needs from its server."""

    loop: asyncio.AbstractEventLoop
    timeouts: Timeouts
    max_message_bytes: int
    max_held_bytes: int
    held_bytes: int
    """Bytes of all open requests."""
    observer: Observer
    decompressor: Executor

    def log_failure(self, call: Call, status: Status) -> None:
        """Log that a call, or a message of it, was refused or has failed."""

    def forget(self, call: Call) -> None:
        """Drop a streaming call that is over."""


class Call(Stream):
    """A call of one method; implements ``UnaryContext`` and ``StreamContext`` for its handler."""

    __slots__ = (
        "_encoding",
        "_has_begun",
        "_has_dropped",
        "_held_bytes",
        "_host",
        "_inbox",
        "_message",
        "_reader",
        "_request_id",
        "_task",
        "_timer",
        "_unreleased",
        "_unreleased_bytes",
        "_waiting",
        "began_s",
        "code",
        "context",
        "deadline_s",
        "images",
        "is_stopping",
        "metadata",
        "method",
        "on_stop",
        "trailing_metadata",
    )

    def __init__(  # noqa: PLR0913 - the parts of a call
        self,
        sender: Sender,
        stream_id: int,
        head: RequestHead,
        method: Method,
        host: Host,
        *,
        ended: bool,
    ) -> None:
        super().__init__(sender, stream_id, request_ended=ended)
        self.method = method
        self.metadata = head.metadata
        """Header fields of the request."""
        self.began_s = clock()
        self.code = Code.CANCELLED
        """How it ended; CANCELLED until it has."""
        self.context: object = None
        """State of an observer."""
        self.images = 0
        """Images in its requests so far."""
        self.deadline_s: float | None = None
        """By the event loop's clock."""
        self.is_stopping = False
        """Whether the server has asked a streaming call to end."""
        self._has_dropped = False
        """Whether messages came after that; they are not answered."""
        self.trailing_metadata: Mapping[str, str] | None = None
        """Sent behind a good answer."""
        self.on_stop: Callable[[], None] | None = None
        """Called when the server asks a streaming call to end."""
        self._request_id: str | None = None
        self._host = host
        self._encoding = head.encoding
        self._reader: MessageReader | None = None
        self._message: tuple[bool, bytes] | None = None
        self._inbox: deque[tuple[bool, bytes]] = deque()
        self._unreleased: deque[int] = deque()
        """The cost of each message that the handler has received and not released."""
        self._unreleased_bytes = 0
        self._waiting: asyncio.Future[None] | None = None
        self._has_begun = False
        self._held_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        if head.timeout_s is not None:
            self.deadline_s = sender.last_received_s + head.timeout_s
            self._timer = host.loop.call_at(self.deadline_s, self._expire)
        if method.stream is not None:
            self._hold(STREAM_COST_BYTES)
            self._task = host.loop.create_task(self._run_stream())

    @property
    def path(self) -> str:
        """``/package.Service/Method``."""
        return self.method.path

    @property
    def peer(self) -> str:
        """The client's address, ``host:port``."""
        return self.sender.peer

    @property
    def is_stream(self) -> bool:
        """Whether it may have many messages."""
        return self.method.stream is not None

    @property
    def request_id(self) -> str:
        """The caller's ``x-request-id``, or one generated on first use."""
        if self._request_id is None:
            self._request_id = sent_request_id(self.metadata) or new_request_id()
        return self._request_id

    @property
    def is_cut_short(self) -> bool:
        """Whether the server stops before the end of the request, so that messages may be unanswered."""
        return self.is_stopping and (self._has_dropped or not self.request_ended)

    def facts(self, **more: str) -> dict[str, str]:
        """Return log fields that identify the call and its caller."""
        facts = sent_names(self.metadata, **more, peer=self.peer, request_id=self.request_id)
        facts.update(self._host.observer.describe(self))
        return facts

    # -- the request

    def on_data(self, data: bytes, *, ended: bool) -> None:
        """Take the next part of the request; run the handler when a unary request is complete."""
        try:
            if self.sender.unsent_bytes > MAX_UNSENT_BYTES and self.method.unary is not None:
                raise OverloadedError(
                    f"{self.sender.unsent_bytes:,} bytes of answers on this connection are not read; "
                    "read them first"
                )
            self._hold(len(data))
            if ended and self._reader is None and self.method.unary is not None:
                message = only_message(data)
                if message is not None:
                    self._task = self._host.loop.create_task(self._run_unary(message, None))
                    return
            self._read(data, ended=ended)
        except (InvalidRequestError, OverloadedError) as error:
            self.fail(error)

    def _hold(self, size: int) -> None:
        if self._host.held_bytes + size > self._host.max_held_bytes:
            raise OverloadedError(
                f"requests of {self._host.held_bytes + size:,} bytes are waiting, more than the "
                f"{self._host.max_held_bytes:,} that this server holds; retry with backoff"
            )
        self._count(size)

    def _count(self, size: int) -> None:
        """Count bytes as held without checking the limit; negative numbers free them."""
        self._held_bytes += size
        self._host.held_bytes += size

    def _read(self, data: bytes, *, ended: bool) -> None:
        if self._reader is None:
            self._reader = MessageReader(self._host.max_message_bytes)
        begins = self._reader.is_between_messages and bool(data)
        messages = self._reader.feed(data)
        if begins or messages:
            self.last_progress_s, self.progress_bytes = self.sender.last_received_s, 0
        if ended and not self._reader.is_between_messages:
            raise InvalidRequestError("the request ended in the middle of a message")
        if self.method.stream is not None:
            if not self.is_stopping:
                self._enqueue(messages)
            elif messages:
                self._has_dropped = True
            if messages or ended:
                self._wake()
            return
        self._collect(messages, ended=ended)

    def _collect(self, messages: list[tuple[bool, bytes]], *, ended: bool) -> None:
        """Wait for the only message of a unary call, then run the handler."""
        for message in messages:
            if self._message is not None:
                raise InvalidRequestError("the request has several messages, wanted one")
            self._message = message
        if ended:
            if self._message is None:
                raise InvalidRequestError("the request has no message, wanted one")
            (compressed, data), self._message = self._message, None
            answering = self._run_unary(data, self._encoding if compressed else None)
            self._task = self._host.loop.create_task(answering)

    def _enqueue(self, messages: list[tuple[bool, bytes]]) -> None:
        self._inbox.extend(messages)
        more = _MESSAGE_COST_BYTES * len(messages)
        self.unread_bytes += more + sum(PREFIX_BYTES + len(message) for _, message in messages)
        self._hold(more)

    def on_over(self) -> None:
        """Free everything and cancel the handler."""
        self._host.held_bytes -= self._held_bytes
        self._held_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._message = None
        self._inbox.clear()
        self._unreleased.clear()
        if self.method.stream is not None:
            self._host.forget(self)
        self._host.observer.on_call(self)

    def on_stall(self) -> None:
        """End a request that has stalled, or an answer that is not read.

        A stream may be silent between messages, and within one while its flow-control window is closed.
        """
        is_cut = self._reader is not None and not self._reader.is_between_messages and self.receive_window > 0
        if self.outbox or self.method.unary is not None or is_cut:
            self.fail(
                StalledRequestError(
                    "the client has neither gone on with its request nor read the answer for "
                    f"{self._host.timeouts.stall_s:g} seconds"
                )
            )

    def on_grace_over(self) -> None:
        """End with UNAVAILABLE, so that the client retries on another connection."""
        self.fail(NotServingError("the server has ended this connection, and with it the call; retry it"))

    def stop(self) -> None:
        """Ask a streaming call to end; messages that arrive from now on are not received."""
        if self.method.stream is not None:
            self.is_stopping = True
            self._wake()
            if self.on_stop is not None:
                self.on_stop()

    # -- for handlers

    async def receive(self) -> bytes | None:
        """Wait for the next message as ``StreamContext`` says, and while a window's worth is unreleased."""
        while not self._inbox or self._unreleased_bytes >= STREAM_WINDOW:
            if not self._inbox and (self.request_ended or self.is_stopping):
                return None
            self._waiting = self._host.loop.create_future()
            await self._waiting
        compressed, message = self._inbox.popleft()
        cost = _MESSAGE_COST_BYTES + PREFIX_BYTES + len(message)
        try:
            if compressed:
                wire_bytes = len(message)
                message = await self._decompressed(message)
                more = max(0, len(message) - wire_bytes)
                self.unread_bytes += more
                cost += more
        finally:  # also for one that cannot be read, which the handler gets as an error
            if not self.is_over:
                self._unreleased.append(cost)
                self._unreleased_bytes += cost
        return message

    def release(self, count: int = 1) -> None:
        """Release the oldest messages received, so that the client may send more."""
        if self.is_over:
            return
        size = sum(self._unreleased.popleft() for _ in range(count))
        self._unreleased_bytes -= size
        self.unread_bytes -= size
        self._count(-size)
        self._wake()
        self.sender.update_window(self)

    async def send(self, *messages: bytes) -> None:
        """Send messages; wait while the client's flow-control window is closed."""
        if self.is_over:
            return
        if not self._has_begun:
            self._has_begun = True
            self.sender.send_headers(self, RESPONSE_HEAD)
        data = b"".join(map(framed, messages))
        self.sender.send(self, data)
        if self.outbox:
            self._count(len(data))
            self.drained = self._host.loop.create_future()
            await self.drained
            if not self.is_over:
                self._count(-len(data))

    def log_failure(self, status: Status) -> None:
        """Log that this call, or a message of it, was refused or has failed."""
        self._host.log_failure(self, status)

    # -- the answer

    async def _run_unary(self, message: bytes, encoding: bytes | None) -> None:
        """Run the handler of a unary call; the message is compressed if it has an encoding."""
        try:
            if encoding is not None:
                message = await self._decompressed(message)
            answering = self.method.unary(message, self)  # type: ignore[misc]
            del message  # so that the handler can free it: it may be large
            response = await answering
        except Exception as error:  # noqa: BLE001 - the boundary: no details may reach the client
            self._task = None
            self.fail(error)
        except asyncio.CancelledError:
            self._on_cancelled()
            raise
        else:
            self._task = None
            if not self.is_over:
                self.code = Code.OK
                self.sender.respond(self, RESPONSE_HEAD, framed(response), self._ok_trailers())
                if not self.is_over:  # the client's window is closed
                    self._count(len(response))

    async def _run_stream(self) -> None:
        try:
            await self.method.stream(self)  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001 - the boundary: no details may reach the client
            self._task = None
            self.fail(error)
        except asyncio.CancelledError:
            self._on_cancelled()
            raise
        else:
            self._task = None
            if not self.is_over:
                self.code = Code.OK
                if not self._has_begun:
                    self.sender.send_headers(self, RESPONSE_HEAD)
                self.sender.send(self, b"", self._ok_trailers())

    def _ok_trailers(self) -> bytes:
        """Encode the trailers of a good answer, with the request id if the caller sent one."""
        if self.trailing_metadata is None and REQUEST_ID_KEY not in self.metadata:
            return _OK
        metadata = dict(self.trailing_metadata or {})
        if sent_request_id(self.metadata) is not None:
            metadata[REQUEST_ID] = self.request_id
        return ok_trailers(metadata)

    async def _decompressed(self, message: bytes) -> bytes:
        """Decompress in a thread, since a few bytes may become many."""
        host = self._host
        plain = await host.loop.run_in_executor(
            host.decompressor, decompress, message, self._encoding, host.max_message_bytes
        )
        if not self.is_over:
            self._hold(max(0, len(plain) - len(message)))
        return plain

    def _on_cancelled(self) -> None:
        """Fail the call after its handler was cancelled, if the handler did so itself; else it is over."""
        self._task = None
        self.fail(NotServingError("the server has given up this call; retry it"))

    def _expire(self) -> None:
        self.fail(DeadlineError("the deadline passed before the answer was ready"))

    def fail(self, error: Exception) -> None:
        """End the call with the status of an exception."""
        if self.is_over:
            return
        status = status_of(error)
        self.code = status.code
        self.log_failure(status)
        if status.failure is not None or sent_request_id(self.metadata) is not None:
            status = status.with_metadata(REQUEST_ID, self.request_id)
        if self._has_begun or self.outbox is not None:
            self.sender.drop_unsent(self)
            self.sender.send(self, b"", trailers(status))
        else:
            self.sender.send_headers(self, trailers_only(status), ended=True)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
