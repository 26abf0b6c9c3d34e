"""A line between two processes on which both may ask and answer.

In: questions, each a topic and a body that JSON can carry. Out: the other side's answer, or why there is
none. Knows nothing of who is on the line nor of what is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping

Json: TypeAlias = Any
"""What JSON can carry; tuples arrive as lists."""
Handler: TypeAlias = "Callable[[Json], Awaitable[Json]]"
"""Answers a question: from body to body."""

_QUESTION, _ANSWER, _FAILURE = "?", "=", "!"
_SIZE = struct.Struct(">I")
_MOST_BYTES = 16 << 20
_log = structlog.get_logger(__name__)


class LineError(Exception):
    """There is no answer to a question; the message says why."""


class Telephone:
    """One end of the line."""

    def __init__(self, handlers: Mapping[str, Handler], on_over: Callable[[], None] | None = None) -> None:
        """Make an end that is not connected yet.

        Args:
            handlers: answer what the other side asks, by topic; may gain entries later.
            on_over: is told once that the other side is gone.
        """
        self._handlers = handlers
        self._on_over = on_over
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._numbers = count()
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        """Kept here, since the event loop itself holds them only weakly."""

    async def connect(self, line: socket.socket) -> None:
        """Begin to listen to one end of a pair of Unix sockets, which belongs to this from now on."""
        reader, self._writer = await asyncio.open_unix_connection(sock=line)
        self._keep(asyncio.get_running_loop().create_task(self._listen(reader), name="telephone"))

    async def ask(self, topic: str, body: Json, timeout_s: float | None) -> Json:
        """Ask the other side; None waits as long as it is there.

        Raises:
            LineError: it is gone, does not answer in time, or failed to find an answer; or question or answer
                are too long.
        """
        if self._writer is None:
            raise LineError("nobody is on the line")
        number = next(self._numbers)
        answered = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._say([_QUESTION, number, topic, body])
            async with asyncio.timeout(timeout_s):
                return await answered
        except TimeoutError:
            raise LineError(f"no answer about {topic} within {timeout_s:g} s") from None
        finally:
            del self._asked[number]

    def close(self) -> None:
        """Hang up; whoever waits for an answer gets LineError. May be called again."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        for answered in self._asked.values():
            if not answered.done():
                answered.set_exception(LineError("the other side is gone"))

    def _say(self, message: list[Any]) -> None:
        """Send a message, if somebody is there. Raises LineError: it is too long."""
        if self._writer is not None and not self._writer.is_closing():
            data = json.dumps(message, separators=(",", ":")).encode()
            _check_size(len(data))  # here: it would cost the other side the whole line
            self._writer.write(_SIZE.pack(len(data)) + data)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                (size,) = _SIZE.unpack(await reader.readexactly(_SIZE.size))
                _check_size(size)
                self._hear(json.loads(await reader.readexactly(size)))
        except (asyncio.IncompleteReadError, OSError):
            pass  # the other process has ended, or is about to
        except Exception:  # noqa: BLE001 - of one line: the process goes on without it
            _log.exception("intercom line broken")
        finally:
            self.close()
            if self._on_over is not None:
                self._on_over()

    def _hear(self, message: list[Any]) -> None:
        kind, number, *rest = message
        if kind == _QUESTION:
            topic, body = rest
            self._keep(asyncio.get_running_loop().create_task(self._answer(number, topic, body)))
            return
        answered = self._asked.get(number)
        if answered is None or answered.done():
            return  # nobody waits for it any more
        if kind == _ANSWER:
            answered.set_result(rest[0])
        else:
            answered.set_exception(LineError(rest[0]))

    async def _answer(self, number: int, topic: str, body: Json) -> None:
        handler = self._handlers.get(topic)
        if handler is None:
            self._say([_FAILURE, number, f"it knows nothing of {topic}"])
            return
        try:
            self._say([_ANSWER, number, await handler(body)])
        except LineError as error:
            self._say([_FAILURE, number, str(error)])
        except Exception:  # noqa: BLE001 - the other side learns that it failed, the log why
            _log.exception("question not answered", topic=topic)
            self._say([_FAILURE, number, f"it failed to answer about {topic}; its log says why"])

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Hang up, and give up what is still being answered."""
        self.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


def _check_size(size: int) -> None:
    if size > _MOST_BYTES:
        raise LineError(f"a message of {size:,} bytes, wanted at most {_MOST_BYTES:,}")
