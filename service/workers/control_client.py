"""A worker's end of the control channel: asks the server's other processes, and answers them.

It carries everything that has to hold for the whole server, whichever worker a client is connected to. In a
server of one process there is no other end, and the client asks itself.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.workers.ipc import IpcConnection, IpcError, no_handler

if TYPE_CHECKING:
    from service.workers.ipc import Handler, Json

CONTROL_FD_VARIABLE = "CIFAR10NET_INTERCOM_FD"
"""Environment variable with the file descriptor of a worker's connection to the supervisor."""

PEERS = "peers"
"""Topic of a question for the supervisor to pass on to all other workers: ``[topic, body, timeout_s]``."""

_TIMEOUT_S = 30.0
_FORWARDING_S = 5.0  # that the supervisor may take beyond the workers' own timeout


@dataclass(frozen=True)
class NoAnswer:
    """Stands in for the answer of a process that did not answer."""

    reason: str


class ControlClient:
    """One a process; to be used within its event loop."""

    def __init__(self, fd: int | None = None) -> None:
        """Take over the connection to the supervisor; None in a server of one process."""
        self._fd = fd
        self._handlers: dict[str, Handler] = {}
        self._supervisor: IpcConnection | None = None

    def handle(self, topic: str, handler: Handler) -> None:
        """Answer questions about a topic, including those of this process."""
        self._handlers[topic] = handler

    async def join(self) -> None:
        """Start to answer the other processes, including questions they have asked already."""
        if self._fd is not None:
            os.set_inheritable(self._fd, False)  # noqa: FBT003 - it has no name
            self._supervisor = IpcConnection(self._handlers)
            await self._supervisor.connect(socket.socket(fileno=self._fd))

    async def ask_all(self, topic: str, body: Json = None, timeout_s: float = _TIMEOUT_S) -> list[Json]:
        """Ask every process of the server; return an answer or NoAnswer of each, this process's first."""
        try:
            own = await self._ask_self(topic, body)
        except IpcError as error:
            own = NoAnswer(str(error))
        return [own, *await self.ask_peers(topic, body, timeout_s)]

    async def ask_peers(self, topic: str, body: Json = None, timeout_s: float = _TIMEOUT_S) -> list[Json]:
        """Ask every other worker; return an answer or NoAnswer of each."""
        if self._supervisor is None:
            return []
        try:
            answers = await self._supervisor.ask(PEERS, [topic, body, timeout_s], timeout_s + _FORWARDING_S)
        except IpcError as error:
            return [NoAnswer(f"the supervisor: {error}")]
        return [answer if reason is None else NoAnswer(reason) for answer, reason in answers]

    async def ask_supervisor(self, topic: str, body: Json = None, timeout_s: float = _TIMEOUT_S) -> Json:
        """Ask the supervisor; a server of one process answers itself.

        Raises:
            IpcError: there is no answer.
        """
        if self._supervisor is None:
            return await self._ask_self(topic, body)
        return await self._supervisor.ask(topic, body, timeout_s)

    async def close(self) -> None:
        """Disconnect from the supervisor."""
        if self._supervisor is not None:
            await self._supervisor.aclose()

    async def _ask_self(self, topic: str, body: Json) -> Json:
        handler = self._handlers.get(topic)
        if handler is None:
            raise no_handler(topic)
        return await handler(body)
