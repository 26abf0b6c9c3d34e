"""Many requests on one call, answered in their order: the way of ``ClassifyStream``.

In: the messages of a call. Out: an answer or an error for each, in order, while further ones are read. What
is unanswered is bounded by the stream's window: a message makes room for another when its answer is out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from service.errors import InvalidRequestError, NotServingError, ServiceError
from service.pb import classifier_pb2 as pb
from service.rpc.status import status_of
from service.servicers.replies import field

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from service.rpc.call import Call

Answer: TypeAlias = "Callable[[pb.ClassifyRequest, Call], Awaitable[bytes]]"
"""Encodes the response to a request; raises ServiceError to refuse it."""

Parse: TypeAlias = "Callable[[bytes], pb.ClassifyStreamRequest]"
"""Reads a message; raises InvalidRequestError."""

_MOST_ANSWERS_AT_ONCE = 64
_RESPONSE = pb.ClassifyStreamResponse.DESCRIPTOR.fields_by_name["response"].number


class Conversation:
    """One streaming call."""

    def __init__(self, call: Call, parse: Parse, answer: Answer) -> None:
        """Answer the messages of ``call``, read by ``parse``, by ``answer``."""
        self._call = call
        self._parse = parse
        self._answer = answer
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
        if self._call.is_stopping and (self._call.has_dropped or not self._call.request_ended):
            raise NotServingError("the server is stopping; send what is unanswered again, on another stream")

    async def _next(self) -> Coroutine[None, None, bytes] | None:
        """Wait for a message, and begin its reply; None when there are no more."""
        try:
            message = await self._call.receive()
        except ServiceError as error:
            return self._refuse(error)
        return None if message is None else self._reply(message)

    async def _refuse(self, error: ServiceError) -> bytes:
        """Reply to a message that could not even be read."""
        return self._error(pb.ClassifyStreamResponse(), error)

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
            self._call.let_go(len(replies))

    async def _reply(self, message: bytes) -> bytes:
        reply = pb.ClassifyStreamResponse()
        try:
            envelope = self._parse(message)
            reply.id = envelope.id
            if not envelope.HasField("request"):
                raise InvalidRequestError("the message has no request, wanted one to answer")
            response = await self._answer(envelope.request, self._call)
        except Exception as error:  # noqa: BLE001 - becomes this message's error; the stream goes on
            return self._error(reply, error)
        return reply.SerializeToString() + field(_RESPONSE, response)

    def _error(self, reply: pb.ClassifyStreamResponse, error: Exception) -> bytes:
        status = status_of(error)
        self._call.note(status)
        reply.error.code = status.code
        reply.error.message = status.message
        return reply.SerializeToString()
