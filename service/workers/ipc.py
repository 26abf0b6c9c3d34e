"""Questions and answers as JSON between two processes, over a pair of Unix sockets; either side may ask."""

from __future__ import annotations

import asyncio
import json
import struct
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping

Json: TypeAlias = Any
"""A JSON value; tuples arrive as lists."""
Handler: TypeAlias = "Callable[[Json], Awaitable[Json]]"
"""Answers a question: from the question's body to the answer's. Raises IpcError to refuse."""

_QUESTION, _ANSWER, _FAILURE = "?", "=", "!"
_SIZE = struct.Struct(">I")
_MAX_BYTES = 16 << 20
_log = structlog.get_logger(__name__)


class IpcError(Exception):
    """A question was not answered; the message says why."""


class IpcConnection:
    """One end of the connection."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        """Create an unconnected end.

        Args:
            handlers: answer the other side's questions, by topic; entries may be added later.
        """
        self._handlers = handlers
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._numbers = count()
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        """References, since the event loop holds tasks only weakly."""

    async def connect(self, end: socket.socket) -> None:
        """Take over one socket of a pair and start to read from it."""
        reader, self._writer = await asyncio.open_unix_connection(sock=end)
        self._keep(asyncio.get_running_loop().create_task(self._read(reader), name="ipc"))

    async def ask(self, topic: str, body: Json, timeout_s: float | None) -> Json:
        """Ask the other side; without a timeout, wait until it answers or is gone.

        Raises:
            IpcError: the other side is gone, timed out, or failed; or question or answer exceed 16 MiB.
        """
        if self._writer is None:
            raise IpcError("it is not connected")
        number = next(self._numbers)
        answered = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._send([_QUESTION, number, topic, body])
            async with asyncio.timeout(timeout_s):
                return await answered
        except TimeoutError:
            raise IpcError(f"no answer about {topic} within {timeout_s:g} s") from None
        finally:
            del self._asked[number]

    def close(self) -> None:
        """Disconnect; pending questions fail with IpcError. May be called again."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        for answered in self._asked.values():
            if not answered.done():
                answered.set_exception(IpcError("the other side is gone"))

    async def aclose(self) -> None:
        """Disconnect, and cancel the handlers that are still running."""
        self.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _send(self, message: list[Any]) -> None:
        """Send a message if connected. Raises IpcError: it is too long."""
        if self._writer is not None and not self._writer.is_closing():
            data = json.dumps(message, separators=(",", ":")).encode()
            _check_size(len(data))  # here, since the receiver would have to drop the connection
            self._writer.write(_SIZE.pack(len(data)) + data)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                (size,) = _SIZE.unpack(await reader.readexactly(_SIZE.size))
                _check_size(size)
                self._receive(json.loads(await reader.readexactly(size)))
        except (asyncio.IncompleteReadError, OSError):
            pass  # the other process has ended, or is about to
        except Exception:  # noqa: BLE001 - only this connection is lost: the process goes on
            _log.exception("intercom line broken")
        finally:
            self.close()

    def _receive(self, message: list[Any]) -> None:
        kind, number, *rest = message
        if kind == _QUESTION:
            topic, body = rest
            self._keep(asyncio.get_running_loop().create_task(self._answer(number, topic, body)))
            return
        answered = self._asked.get(number)
        if answered is None or answered.done():
            return  # it timed out, or was cancelled
        if kind == _ANSWER:
            answered.set_result(rest[0])
        else:
            answered.set_exception(IpcError(rest[0]))

    async def _answer(self, number: int, topic: str, body: Json) -> None:
        handler = self._handlers.get(topic)
        try:
            if handler is None:
                raise no_handler(topic)
            self._send([_ANSWER, number, await handler(body)])
        except IpcError as error:
            self._send([_FAILURE, number, str(error)])
        except Exception:  # noqa: BLE001 - the other side learns that it failed, the log says why
            _log.exception("question not answered", topic=topic)
            self._send([_FAILURE, number, f"it failed to answer about {topic}; its log says why"])

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def no_handler(topic: str) -> IpcError:
    """Return the error for a topic that a process does not handle."""
    return IpcError(f"it has no handler for {topic}")


def _check_size(size: int) -> None:
    if size > _MAX_BYTES:
        raise IpcError(f"a message of {size:,} bytes, wanted at most {_MAX_BYTES:,}")
