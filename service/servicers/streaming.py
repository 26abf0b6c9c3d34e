"""Many requests on one call, answered in their order: the way of ``ClassifyStream`` and ``ModelStreamInfer``.

In: the messages of a call. Out: an answer or an error for each, in order, while further ones are read. What
is unanswered is bounded by the stream's window: a message makes room for another when its answer is out.
Knows nothing of what messages and answers are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from service.errors import NotServingError, ServiceError
from service.rpc.status import status_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from service.rpc.context import StreamContext
    from service.rpc.status import Status

_MOST_ANSWERS_AT_ONCE = 64
_Request = TypeVar("_Request")


class Conversation(Generic[_Request]):
    """One streaming call."""

    def __init__(
        self,
        call: StreamContext,
        parse: Callable[[bytes], _Request],
        answer: Callable[[_Request, StreamContext], Awaitable[bytes]],
        refuse: Callable[[_Request | None, Status], bytes],
    ) -> None:
        """Answer the messages of a call.

        Args:
            call: where they come from.
            parse: reads one; raises InvalidRequestError.
            answer: encodes the reply to one; raises ServiceError to refuse it.
            refuse: encodes the reply to one that was refused, or could not even be read: None.
        """
        self._call = call
        self._parse = parse
        self._answer = answer
        self._refuse = refuse
        self._unsent: deque[asyncio.Task[bytes]] = deque()
        self._arrived = asyncio.Event()
        self._is_complete = False

    async def run(self) -> None:
        """Answer every message.

        Raises:
            NotServingError: the server stops; what was received is answered.
        """
        loop = asyncio.get_running_loop()
        writing = loop.create_task(self._write())
        try:
            while (reply := await self._next()) is not None:
                self._unsent.append(loop.create_task(reply))
                self._arrived.set()
            self._is_complete = True
            self._arrived.set()
            await writing
        finally:
            writing.cancel()
            for replying in self._unsent:
                replying.cancel()
        if self._call.is_cut_short:
            raise NotServingError("the server is stopping; send what is unanswered again, on another stream")

    async def _next(self) -> Coroutine[None, None, bytes] | None:
        """Wait for a message, and begin its reply; None when there are no more."""
        try:
            message = await self._call.receive()
        except ServiceError as error:
            return self._complain(error)
        return None if message is None else self._reply(message)

    async def _complain(self, error: ServiceError) -> bytes:
        """Reply to a message that could not even be received."""
        return self._error(None, error)

    async def _write(self) -> None:
        """Send replies in order as they become ready; those that are ready together, together."""
        while True:
            if not self._unsent:
                if self._is_complete:
                    return
                self._arrived.clear()
                await self._arrived.wait()
                continue
            await self._unsent[0]
            replies: list[bytes] = []
            while self._unsent and self._unsent[0].done() and len(replies) < _MOST_ANSWERS_AT_ONCE:
                replies.append(self._unsent.popleft().result())
            await self._call.send(*replies)
            self._call.release(len(replies))

    async def _reply(self, message: bytes) -> bytes:
        request = None
        try:
            request = self._parse(message)
            del message  # all of it is in the request
            return await self._answer(request, self._call)
        except Exception as error:  # noqa: BLE001 - becomes this message's error; the stream goes on
            return self._error(request, error)

    def _error(self, request: _Request | None, error: Exception) -> bytes:
        status = status_of(error)
        self._call.log_failure(status)
        return self._refuse(request, status)
