"""Pipelined requests on one streaming call, as in ``ClassifyStream`` and ``ModelStreamInfer``.

Requests are processed concurrently and answered in order, each with a response or an error. The stream's
flow-control window bounds the unanswered bytes: a message is released once its response has been sent.
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

_MAX_RESPONSES_PER_WRITE = 64
_Request = TypeVar("_Request")


class PipelinedStream(Generic[_Request]):
    """A streaming call whose messages are independent requests."""

    def __init__(
        self,
        context: StreamContext,
        parse: Callable[[bytes], _Request],
        handle: Callable[[_Request, StreamContext], Awaitable[bytes]],
        encode_error: Callable[[_Request | None, Status], bytes],
    ) -> None:
        """Handle the messages of a call.

        Args:
            context: the call.
            parse: parses a message; raises InvalidRequestError.
            handle: returns the response to a request; raises ServiceError to refuse it.
            encode_error: returns the response to a request that was refused, or to None if the message could
                not be parsed.
        """
        self._context = context
        self._parse = parse
        self._handle = handle
        self._encode_error = encode_error
        self._unsent: deque[asyncio.Task[bytes]] = deque()
        self._arrived = asyncio.Event()
        self._is_complete = False

    async def run(self) -> None:
        """Answer every message.

        Raises:
            NotServingError: the server stops; every request received has been answered.
        """
        loop = asyncio.get_running_loop()
        writing = loop.create_task(self._write())
        try:
            while (response := await self._next()) is not None:
                self._unsent.append(loop.create_task(response))
                self._arrived.set()
            self._is_complete = True
            self._arrived.set()
            await writing
        finally:
            writing.cancel()
            for handling in self._unsent:
                handling.cancel()
        if self._context.is_cut_short:
            raise NotServingError(
                "the server is stopping; send the unanswered requests again, on another stream"
            )

    async def _next(self) -> Coroutine[None, None, bytes] | None:
        """Wait for a message; return the coroutine of its response, None at the end of the stream."""
        try:
            message = await self._context.receive()
        except ServiceError as error:
            return self._refuse(None, error)
        return None if message is None else self._respond(message)

    async def _write(self) -> None:
        """Send responses in order as they become ready, several in one write where possible."""
        while True:
            if not self._unsent:
                if self._is_complete:
                    return
                self._arrived.clear()
                await self._arrived.wait()
                continue
            await self._unsent[0]
            responses: list[bytes] = []
            while self._unsent and self._unsent[0].done() and len(responses) < _MAX_RESPONSES_PER_WRITE:
                responses.append(self._unsent.popleft().result())
            await self._context.send(*responses)
            self._context.release(len(responses))

    async def _respond(self, message: bytes) -> bytes:
        request = None
        try:
            request = self._parse(message)
            del message  # the request has a copy of all of it
            return await self._handle(request, self._context)
        except Exception as error:  # noqa: BLE001 - becomes this message's error; the stream goes on
            return await self._refuse(request, error)

    async def _refuse(self, request: _Request | None, error: Exception) -> bytes:
        status = status_of(error)
        self._context.log_failure(status)
        return self._encode_error(request, status)
