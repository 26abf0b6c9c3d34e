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
    OverloadedError,
    StalledRequestError,
)
from service.http2.stream import Stream
from service.rpc.messages import MessageReader, decompress, framed, only_message
from service.rpc.status import RESPONSE_HEAD, ok_trailers, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.http2.connection import Connection
    from service.rpc.head import Head
    from service.rpc.method import Method
    from service.rpc.server import RpcServer
    from service.rpc.status import Status

_OK = ok_trailers()


class Call(Stream):
    """A call of one method."""

    __slots__ = (
        "_encoding",
        "_has_begun",
        "_held_bytes",
        "_inbox",
        "_message",
        "_reader",
        "_server",
        "_task",
        "_timer",
        "_waiting",
        "deadline_s",
        "is_stopping",
        "method",
        "on_stop",
        "trailing_metadata",
    )

    def __init__(
        self, connection: Connection, stream_id: int, head: Head, method: Method, server: RpcServer
    ) -> None:
        super().__init__(connection, stream_id)
        self.method = method
        self.deadline_s: float | None = None
        """In the event loop's time."""
        self.is_stopping = False
        """Whether the server wants a streaming call to end; ``receive`` gives no more messages then."""
        self.trailing_metadata: Mapping[str, str] | None = None
        """Goes to the client behind a good answer."""
        self.on_stop: Callable[[], None] | None = None
        """Called when the server wants a streaming call to end."""
        self._server = server
        self._encoding = head.encoding
        self._reader: MessageReader | None = None
        self._message: tuple[bool, bytes] | None = None
        self._inbox: deque[tuple[bool, bytes]] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._has_begun = False
        self._held_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        if head.timeout_s is not None:
            self.deadline_s = connection.heard_s + head.timeout_s
            self._timer = server.loop.call_at(self.deadline_s, self._expire)
        if method.stream is not None:
            self._task = server.loop.create_task(self._converse())

    # -- the request

    def on_data(self, data: bytes, *, ended: bool) -> None:
        """Take the next part of the request; run the handler when a unary one is whole."""
        size = len(data)
        self._held_bytes += size
        self._server.held_bytes += size
        if self._server.held_bytes > self._server.max_held_bytes:
            self._fail(
                OverloadedError(
                    f"requests of {self._server.held_bytes:,} bytes are waiting, more than the "
                    f"{self._server.max_held_bytes:,} that this server holds; retry with backoff"
                )
            )
            return
        if ended and self._reader is None and self.method.unary is not None:
            message = only_message(data)
            if message is not None:
                self._task = self._server.loop.create_task(self._answer(message))
                return
        try:
            self._read(data, ended=ended)
        except (InvalidRequestError, OverloadedError) as error:
            self._fail(error)

    def _read(self, data: bytes, *, ended: bool) -> None:
        if self._reader is None:
            self._reader = MessageReader(self._server.max_message_bytes)
        messages = self._reader.feed(data)
        if ended and not self._reader.is_between_messages:
            raise InvalidRequestError("the request ended in the middle of a message")
        if self.method.stream is not None:
            self._inbox.extend(messages)
            self.unread_bytes += sum(len(message) for _, message in messages)
            if messages or ended:
                self._wake()
            return
        for message in messages:
            if self._message is not None:
                raise InvalidRequestError("the request has several messages, wanted one")
            self._message = message
        if ended:
            if self._message is None:
                raise InvalidRequestError("the request has no message, wanted one")
            self._task = self._server.loop.create_task(self._answer_whole(self._message))
            self._message = None

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
        self._server.forget(self)

    def on_stall(self) -> None:
        """End a request that does not go on, or an answer that is not read; a stream may be silent."""
        if self.outbox or self.method.unary is not None:
            self._fail(
                StalledRequestError(
                    "the client has neither gone on with its request nor read the answer for "
                    f"{self._server.patience.stall_s:g} seconds"
                )
            )

    def stop(self) -> None:
        """Ask a streaming call to end: it is given no more messages."""
        if self.method.stream is not None:
            self.is_stopping = True
            self._wake()
            if self.on_stop is not None:
                self.on_stop()

    # -- for handlers

    async def receive(self) -> bytes | None:
        """Wait for the client's next message; None when there are no more.

        Its bytes stay counted against the stream's window until ``let_go``.

        Raises:
            InvalidRequestError, MessageTooLargeError: the message cannot be decompressed.
        """
        while not self._inbox or self.is_stopping:
            if self.request_ended or self.is_stopping:
                return None
            self._waiting = self._server.loop.create_future()
            await self._waiting
        compressed, message = self._inbox.popleft()
        return await self._decompressed(message) if compressed else message

    def let_go(self, *messages: bytes) -> None:
        """Say that messages are dealt with, so that the client may send more."""
        size = sum(map(len, messages))
        self.unread_bytes = max(0, self.unread_bytes - size)
        freed = min(size, self._held_bytes)
        self._held_bytes -= freed
        self._server.held_bytes -= freed
        self.connection.let_through(self)

    async def send(self, *messages: bytes) -> None:
        """Send messages; waits while the client's window is shut."""
        if self.is_over:
            return
        if not self._has_begun:
            self._has_begun = True
            self.connection.send_headers(self, RESPONSE_HEAD)
        self.connection.send(self, b"".join(map(framed, messages)))
        if self.outbox:
            self.drained = self._server.loop.create_future()
            await self.drained

    def note(self, status: Status) -> None:
        """Have the log say that this call, or a message of it, was refused."""
        if status.code is not Code.INTERNAL:  # which has a line with its traceback
            self._server.refusals.note(self.method.path, status, self._server.loop.time())

    # -- the answer

    async def _answer_whole(self, message: tuple[bool, bytes]) -> None:
        compressed, data = message
        del message  # so that nothing here holds the bytes while they are answered
        try:
            if compressed:
                data = await self._decompressed(data)
        except (InvalidRequestError, OverloadedError) as error:
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
        else:
            self._task = None
            if not self.is_over:
                trailers = _OK if self.trailing_metadata is None else ok_trailers(self.trailing_metadata)
                self.connection.respond(self, RESPONSE_HEAD, framed(reply), trailers)

    async def _converse(self) -> None:
        try:
            await self.method.stream(self)  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001 - the boundary: nothing of it may reach the client
            self._task = None
            self._fail(error)
        else:
            self._task = None
            if not self.is_over:
                if not self._has_begun:
                    self.connection.send_headers(self, RESPONSE_HEAD)
                self.connection.send(self, b"", _OK)

    async def _decompressed(self, message: bytes) -> bytes:
        """In a thread, since a few bytes may unfold to many."""
        plain = await asyncio.to_thread(decompress, message, self._encoding, self._server.max_message_bytes)
        more = len(plain) - len(message)
        if not self.is_over and more > 0:
            self._held_bytes += more
            self.unread_bytes += more
            self._server.held_bytes += more
        return plain

    def _expire(self) -> None:
        self._fail(DeadlineError("the deadline passed before the answer was ready"))

    def _fail(self, error: Exception) -> None:
        """End the call with the status of an error."""
        if self.is_over:
            return
        status = status_of(error, self.method.path)
        self.note(status)
        if self._has_begun or self.outbox is not None:
            if self.outbox:
                self.outbox.clear()
            self.connection.send(self, b"", status.trailers())
        else:
            self.connection.send_headers(self, status.whole_answer(), ended=True)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
