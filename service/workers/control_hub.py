"""Where the lines of all workers meet, in the supervisor.

In: a question of one worker, or of the supervisor itself. Out: the answers of the others. Knows nothing of
processes nor of what is asked.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING

from service.workers.control_client import PEERS
from service.workers.ipc import LineError, Telephone

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.workers.ipc import Handler, Json


class Exchange:
    """Passes questions on; to be used within one event loop."""

    def __init__(self) -> None:
        self._lines: dict[int, Telephone] = {}
        self._handlers: dict[str, Handler] = {}
        self._joining: set[asyncio.Task[None]] = set()

    def answer(self, topic: str, handler: Handler) -> None:
        """Have the supervisor answer what workers ask it, as ``Intercom.answer`` does for a worker."""
        self._handlers[topic] = handler

    def add(self, key: int) -> socket.socket:
        """Lay a line for a new worker.

        Args:
            key: what the worker is called here.

        Returns:
            The worker's end, for it to inherit; to be closed here once it has.
        """
        ours, theirs = socket.socketpair()
        handlers: dict[str, Handler] = {**self._handlers, PEERS: partial(self._pass_on, key)}
        line = self._lines[key] = Telephone(handlers)
        joining = asyncio.get_running_loop().create_task(line.connect(ours))
        self._joining.add(joining)
        joining.add_done_callback(self._joining.discard)
        return theirs

    def remove(self, key: int) -> None:
        """Take away the line of a worker that has ended; whoever waits for its answer learns of it."""
        line = self._lines.pop(key, None)
        if line is not None:
            line.close()

    async def ask(self, key: int, topic: str, body: Json, timeout_s: float | None) -> Json:
        """Ask one worker; None waits as long as it lives.

        Raises:
            LineError: there is no answer.
        """
        line = self._lines.get(key)
        if line is None:
            raise LineError("its process has ended")
        return await line.ask(topic, body, timeout_s)

    def close(self) -> None:
        """Hang up all lines."""
        for key in list(self._lines):
            self.remove(key)

    async def _pass_on(self, asking: int, question: Json) -> list[tuple[Json, str | None]]:
        topic, body, timeout_s = question
        return await self._ask_each((key for key in self._lines if key != asking), topic, body, timeout_s)

    async def _ask_each(
        self,
        keys: Iterable[int],
        topic: str,
        body: Json,
        timeout_s: float,
    ) -> list[tuple[Json, str | None]]:
        """Ask some workers at the same time. Returns of each its answer, and why there is none."""

        async def ask(key: int) -> tuple[Json, str | None]:
            try:
                return await self.ask(key, topic, body, timeout_s), None
            except LineError as error:
                return None, f"worker {key}: {error}"

        return list(await asyncio.gather(*map(ask, keys)))
