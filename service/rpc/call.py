"""One call: its request put together, its handler run, its answer or its status sent.

In: the data of an HTTP/2 stream. Out: messages to a handler, and the handler's to the client. A call ends
exactly once: answered, refused, at its deadline, cancelled by the client, or with the connection; and then
its handler is cancelled and what it held is free again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from service.errors import (
    Code,
    DeadlineError,
    InvalidRequestError,
    NotServingError,
    OverloadedError,
    StalledRequestError,
)
from service.http2.connection import MOST_UNSENT_BYTES
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
from service.rpc.status import RESPONSE_HEAD, ok_trailers, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.http2.connection import Connection
    from service.rpc.method import Method
    from service.rpc.request_head import Head
    from service.rpc.server import RpcServer
    from service.rpc.status import Status

_OK = ok_trailers()
STREAM_COST_BYTES = 8 << 10
"""What an open stream takes in memory, silent or not."""
_MESSAGE_COST_BYTES = 1_024
"""Of a stream's message beside its bytes: what is made to answer it, which for small ones is far more."""


class Call(Stream):
    """A call of one method."""

    __slots__ = (
        "_encoding",
        "_given",
        "_given_bytes",
        "_has_begun",
        "_held_bytes",
        "_inbox",
        "_message",
        "_reader",
        "_request_id",
        "_server",
        "_task",
        "_timer",
        "_waiting",
        "began_s",
        "code",
        "context",
        "deadline_s",
        "has_dropped",
        "images",
        "is_stopping",
        "metadata",
        "method",
        "on_stop",
        "trailing_metadata",
    )

    def __init__(  # noqa: PLR0913 - what a call is made of
        self,
        connection: Connection,
        stream_id: int,
        head: Head,
        method: Method,
        server: RpcServer,
        *,
        ended: bool,
    ) -> None:
        super().__init__(connection, stream_id, request_ended=ended)
        self.method = method
        self.metadata = head.metadata
        """The request's header fields."""
        self.began_s = clock()
        self.code = Code.CANCELLED
        """How it ended; this until it has."""
        self.context: object = None
        """For observers to keep what they know of it."""
        self.images = 0
        """That it asks about, so far."""
        self.deadline_s: float | None = None
        """In the event loop's time."""
        self.is_stopping = False
        """Whether the server wants a streaming call to end; ``receive`` only gives what has come by then."""
        self.has_dropped = False
        """Whether messages came after that, which nobody answers."""
        self.trailing_metadata: Mapping[str, str] | None = None
        """Goes to the client behind a good answer."""
        self.on_stop: Callable[[], None] | None = None
        """Called when the server wants a streaming call to end."""
        self._request_id: str | None = None
        self._server = server
        self._encoding = head.encoding
        self._reader: MessageReader | None = None
        self._message: tuple[bool, bytes] | None = None
        self._inbox: deque[tuple[bool, bytes]] = deque()
        self._given: deque[int] = deque()
        """What each message costs that the handler has and has not let go."""
        self._given_bytes = 0
        self._waiting: asyncio.Future[None] | None = None
        self._has_begun = False
        self._held_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        if head.timeout_s is not None:
            self.deadline_s = connection.heard_s + head.timeout_s
            self._timer = server.loop.call_at(self.deadline_s, self._expire)
        if method.stream is not None:
            self._hold(STREAM_COST_BYTES)
            self._task = server.loop.create_task(self._converse())

    @property
    def path(self) -> str:
        """``/package.Service/Method``."""
        return self.method.path

    @property
    def peer(self) -> str:
        """The client's address, ``host:port``."""
        return self.connection.peer

    @property
    def is_stream(self) -> bool:
        """Whether it has many messages."""
        return self.method.stream is not None

    @property
    def request_id(self) -> str:
        """What its caller calls it, else a name that is made up when it is first asked for."""
        if self._request_id is None:
            self._request_id = sent_request_id(self.metadata) or new_request_id()
        return self._request_id

    def facts(self, **more: str) -> dict[str, str]:
        """Say whose call it is, for a line of the log."""
        facts = sent_names(self.metadata, **more, peer=self.peer, request_id=self.request_id)
        facts.update(self._server.observer.describe(self))
        return facts

    # -- the request

    def on_data(self, data: bytes, *, ended: bool) -> None:
        """Take the next part of the request; run the handler when a unary one is whole."""
        try:
            if self.connection.unsent_bytes > MOST_UNSENT_BYTES and self.method.unary is not None:
                raise OverloadedError(
                    f"{self.connection.unsent_bytes:,} bytes of answers on this connection are not read; "
                    "read them first"
                )
            self._hold(len(data))
            if ended and self._reader is None and self.method.unary is not None:
                message = only_message(data)
                if message is not None:
                    self._task = self._server.loop.create_task(self._answer(message))
                    return
            self._read(data, ended=ended)
        except (InvalidRequestError, OverloadedError) as error:
            self._fail(error)

    def _hold(self, size: int) -> None:
        if self._server.held_bytes + size > self._server.max_held_bytes:
            raise OverloadedError(
                f"requests of {self._server.held_bytes + size:,} bytes are waiting, more than the "
                f"{self._server.max_held_bytes:,} that this server holds; retry with backoff"
            )
        self._count(size)

    def _count(self, size: int) -> None:
        """Count bytes as held, whatever the limit; fewer if negative."""
        self._held_bytes += size
        self._server.held_bytes += size

    def _read(self, data: bytes, *, ended: bool) -> None:
        if self._reader is None:
            self._reader = MessageReader(self._server.max_message_bytes)
        begins = self._reader.is_between_messages and bool(data)
        messages = self._reader.feed(data)
        if begins or messages:
            self.moved_s, self.moved_bytes = self.connection.heard_s, 0
        if ended and not self._reader.is_between_messages:
            raise InvalidRequestError("the request ended in the middle of a message")
        if self.method.stream is not None:
            if not self.is_stopping:
                self._take_in(messages)
            elif messages:
                self.has_dropped = True
            if messages or ended:
                self._wake()
            return
        self._collect(messages, ended=ended)

    def _collect(self, messages: list[tuple[bool, bytes]], *, ended: bool) -> None:
        """Wait for the one message of a unary call, and run the handler."""
        for message in messages:
            if self._message is not None:
                raise InvalidRequestError("the request has several messages, wanted one")
            self._message = message
        if ended:
            if self._message is None:
                raise InvalidRequestError("the request has no message, wanted one")
            self._task = self._server.loop.create_task(self._answer_whole(self._message))
            self._message = None

    def _take_in(self, messages: list[tuple[bool, bytes]]) -> None:
        self._inbox.extend(messages)
        more = _MESSAGE_COST_BYTES * len(messages)
        self.unread_bytes += more + sum(PREFIX_BYTES + len(message) for _, message in messages)
        self._hold(more)

    def on_over(self) -> None:
        """Let go of everything."""
        self._server.held_bytes -= self._held_bytes
        self._held_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._message = None
        self._inbox.clear()
        self._given.clear()
        self._server.forget(self)
        self._server.observer.on_call(self)

    def on_stall(self) -> None:
        """End a request that does not go on, or an answer that is not read.

        A stream may be silent between messages, and within one while the server lets no more through.
        """
        is_cut = self._reader is not None and not self._reader.is_between_messages and self.receive_window > 0
        if self.outbox or self.method.unary is not None or is_cut:
            self._fail(
                StalledRequestError(
                    "the client has neither gone on with its request nor read the answer for "
                    f"{self._server.patience.stall_s:g} seconds"
                )
            )

    def on_parting(self) -> None:
        """End with a status that tells the client to ask again, over another connection."""
        self._fail(NotServingError("the server has ended this connection, and with it the call; ask again"))

    def stop(self) -> None:
        """Ask a streaming call to end: messages that come from now on are not given to it."""
        if self.method.stream is not None:
            self.is_stopping = True
            self._wake()
            if self.on_stop is not None:
                self.on_stop()

    def revoke(self, error: Exception) -> None:
        """End a call that was admitted and may not go on."""
        self._fail(error)

    # -- for handlers

    async def receive(self) -> bytes | None:
        """Wait for the client's next message; None when there are no more.

        It counts against the stream's window until ``let_go``, and while as much as a window is given and
        not let go there are no further ones.

        Raises:
            InvalidRequestError, MessageTooLargeError: the message cannot be decompressed.
            OverloadedError: decompressed, it is more than the server can hold now.
        """
        while not self._inbox or self._given_bytes >= STREAM_WINDOW:
            if not self._inbox and (self.request_ended or self.is_stopping):
                return None
            self._waiting = self._server.loop.create_future()
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
        finally:  # one that cannot be read is given all the same, as an error, and let go
            if not self.is_over:
                self._given.append(cost)
                self._given_bytes += cost
        return message

    def let_go(self, count: int = 1) -> None:
        """Say that the oldest messages are dealt with, so that the client may send more."""
        if self.is_over:
            return
        size = sum(self._given.popleft() for _ in range(count))
        self._given_bytes -= size
        self.unread_bytes -= size
        self._count(-size)
        self._wake()
        self.connection.let_through(self)

    async def send(self, *messages: bytes) -> None:
        """Send messages; waits while the client's window is shut."""
        if self.is_over:
            return
        if not self._has_begun:
            self._has_begun = True
            self.connection.send_headers(self, RESPONSE_HEAD)
        data = b"".join(map(framed, messages))
        self.connection.send(self, data)
        if self.outbox:
            self._count(len(data))
            self.drained = self._server.loop.create_future()
            await self.drained
            if not self.is_over:
                self._count(-len(data))

    def note(self, status: Status) -> None:
        """Have the log say that this call, or a message of it, was refused or has failed."""
        self._server.ended_badly(self, status)

    # -- the answer

    async def _answer_whole(self, message: tuple[bool, bytes]) -> None:
        compressed, data = message
        del message  # so that nothing here holds the bytes while they are answered
        try:
            if compressed:
                data = await self._decompressed(data)
        except (InvalidRequestError, OverloadedError) as error:
            self._task = None
            self._fail(error)
            return
        answering = self._answer(data)
        del data
        await answering

    async def _answer(self, message: bytes) -> None:
        try:
            answering = self.method.unary(message, self)  # type: ignore[misc]
            del message  # the handler has it, and lets go of it when it can: it may be large
            reply = await answering
        except Exception as error:  # noqa: BLE001 - the boundary: nothing of it may reach the client
            self._task = None
            self._fail(error)
        except asyncio.CancelledError:
            self._give_up()
            raise
        else:
            self._task = None
            if not self.is_over:
                self.code = Code.OK
                self.connection.respond(self, RESPONSE_HEAD, framed(reply), self._good_trailers())
                if not self.is_over:  # the client has no room for it yet
                    self._count(len(reply))

    async def _converse(self) -> None:
        try:
            await self.method.stream(self)  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001 - the boundary: nothing of it may reach the client
            self._task = None
            self._fail(error)
        except asyncio.CancelledError:
            self._give_up()
            raise
        else:
            self._task = None
            if not self.is_over:
                self.code = Code.OK
                if not self._has_begun:
                    self.connection.send_headers(self, RESPONSE_HEAD)
                self.connection.send(self, b"", self._good_trailers())

    def _good_trailers(self) -> bytes:
        """Make the block that ends a good answer; a caller that gave a request id gets it back."""
        if self.trailing_metadata is None and REQUEST_ID_KEY not in self.metadata:
            return _OK
        metadata = dict(self.trailing_metadata or {})
        if sent_request_id(self.metadata) is not None:
            metadata[REQUEST_ID] = self.request_id
        return ok_trailers(metadata)

    async def _decompressed(self, message: bytes) -> bytes:
        """In a thread, since a few bytes may unfold to many."""
        server = self._server
        plain = await server.loop.run_in_executor(
            server.unfolding, decompress, message, self._encoding, server.max_message_bytes
        )
        if not self.is_over:
            self._hold(max(0, len(plain) - len(message)))
        return plain

    def _give_up(self) -> None:
        """Answer although the handler was cancelled, which by then is no news unless it was from within."""
        self._task = None
        self._fail(NotServingError("the server has given this call up; ask again"))

    def _expire(self) -> None:
        self._fail(DeadlineError("the deadline passed before the answer was ready"))

    def _fail(self, error: Exception) -> None:
        """End the call with the status of an error."""
        if self.is_over:
            return
        status = status_of(error)
        self.code = status.code
        self.note(status)
        if status.failure is not None or sent_request_id(self.metadata) is not None:
            status = status.with_metadata(REQUEST_ID, self.request_id)
        if self._has_begun or self.outbox is not None:
            self.connection.drop_unsent(self)
            self.connection.send(self, b"", status.trailers())
        else:
            self.connection.send_headers(self, status.whole_answer(), ended=True)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
