"""The supervisor's end of the control channel: connects all workers and passes on their questions."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING

from service.workers.control_client import PEERS
from service.workers.ipc import IpcConnection, IpcError

if TYPE_CHECKING:
    from service.workers.ipc import Handler, Json


class ControlHub:
    """One a supervisor; to be used within its event loop."""

    def __init__(self) -> None:
        self._connections: dict[int, IpcConnection] = {}
        self._handlers: dict[str, Handler] = {}
        self._joining: set[asyncio.Task[None]] = set()

    def handle(self, topic: str, handler: Handler) -> None:
        """Answer workers' questions about a topic; to be called before workers are added."""
        self._handlers[topic] = handler

    def add(self, worker: int) -> socket.socket:
        """Connect a new worker.

        Returns:
            The worker's end, to be inherited by its process and then closed here.
        """
        ours, theirs = socket.socketpair()
        handlers: dict[str, Handler] = {**self._handlers, PEERS: partial(self._ask_others, worker)}
        connection = self._connections[worker] = IpcConnection(handlers)
        joining = asyncio.get_running_loop().create_task(connection.connect(ours))
        self._joining.add(joining)
        joining.add_done_callback(self._joining.discard)
        return theirs

    def remove(self, worker: int) -> None:
        """Disconnect a worker that has ended; questions to it fail."""
        connection = self._connections.pop(worker, None)
        if connection is not None:
            connection.close()

    async def ask(self, worker: int, topic: str, body: Json, timeout_s: float | None) -> Json:
        """Ask one worker; without a timeout, wait as long as it lives.

        Raises:
            IpcError: there is no answer.
        """
        connection = self._connections.get(worker)
        if connection is None:
            raise IpcError("its process has ended")
        return await connection.ask(topic, body, timeout_s)

    def close(self) -> None:
        """Disconnect all workers."""
        for worker in list(self._connections):
            self.remove(worker)

    async def _ask_others(self, asking: int, question: Json) -> list[tuple[Json, str | None]]:
        """Ask all workers but one concurrently; return each one's answer, and why there is none."""
        topic, body, timeout_s = question

        async def ask(worker: int) -> tuple[Json, str | None]:
            try:
                return await self.ask(worker, topic, body, timeout_s), None
            except IpcError as error:
                return None, f"worker {worker}: {error}"

        return await asyncio.gather(*[ask(worker) for worker in self._connections if worker != asking])
