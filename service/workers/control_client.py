"""What one worker of a server lets the others know, and asks them.

In: questions of this process, to every process of the server, this one too. Out: an answer of each, or why it
has none. What has to hold for the whole server, whichever worker a client's connection has reached, goes
this way. A server of one process talks to itself. Knows nothing of what is asked.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.workers.ipc import LineError, Telephone

if TYPE_CHECKING:
    from service.workers.ipc import Handler, Json

FD_VARIABLE = "CIFAR10NET_INTERCOM_FD"
"""Environment variable that tells a worker the file descriptor of its line to the supervisor."""

PEERS = "peers"
"""Topic of a question that the supervisor passes on to the other workers: ``[topic, body, timeout_s]``."""

_TIMEOUT_S = 30.0
_PASSING_ON_S = 5.0  # more patience with the supervisor than it has with the others


@dataclass(frozen=True)
class Failure:
    """Stands where the answer of one process would."""

    reason: str


class Intercom:
    """Of one process; to be used within its event loop."""

    def __init__(self, fd: int | None = None) -> None:
        """Take the line to the supervisor by its file descriptor; None in a server of one process."""
        self._fd = fd
        self._handlers: dict[str, Handler] = {}
        self._supervisor: Telephone | None = None

    def answer(self, topic: str, handler: Handler) -> None:
        """Have questions of a topic answered, this process's own too.

        Args:
            topic: its name.
            handler: from the question's body to the answer's, both of what JSON can carry; raises LineError
                to say why there is none.
        """
        self._handlers[topic] = handler

    async def join(self) -> None:
        """Answer the other workers from now on, what they have asked meanwhile too."""
        if self._fd is not None:
            os.set_inheritable(self._fd, False)  # noqa: FBT003 - it has no name
            self._supervisor = Telephone(self._handlers)
            await self._supervisor.connect(socket.socket(fileno=self._fd))

    async def ask_all(self, topic: str, body: Json = None, timeout_s: float = _TIMEOUT_S) -> list[Json]:
        """Ask every process of the server.

        Returns:
            The answer of each, this one's first; a Failure in the place of one that has none.
        """
        own = await self._ask_self(topic, body)
        return [own, *await self.ask_peers(topic, body, timeout_s)]

    async def ask_peers(self, topic: str, body: Json = None, timeout_s: float = _TIMEOUT_S) -> list[Json]:
        """Ask every other worker, as ``ask_all`` does; there is none in a server of one process."""
        if self._supervisor is None:
            return []
        try:
            answers = await self._supervisor.ask(PEERS, [topic, body, timeout_s], timeout_s + _PASSING_ON_S)
        except LineError as error:
            return [Failure(f"the supervisor: {error}")]
        return [answer if reason is None else Failure(reason) for answer, reason in answers]

    async def ask_supervisor(self, topic: str, body: Json = None, timeout_s: float = _TIMEOUT_S) -> Json:
        """Ask the supervisor; a server of one process answers itself.

        Raises:
            LineError: there is no answer.
        """
        if self._supervisor is None:
            answer = await self._ask_self(topic, body)
            if isinstance(answer, Failure):
                raise LineError(answer.reason)
            return answer
        return await self._supervisor.ask(topic, body, timeout_s)

    async def close(self) -> None:
        """Leave."""
        if self._supervisor is not None:
            await self._supervisor.aclose()

    async def _ask_self(self, topic: str, body: Json) -> Json:
        handler = self._handlers.get(topic)
        if handler is None:
            return Failure(f"it knows nothing of {topic}")
        try:
            return await handler(body)
        except LineError as error:
            return Failure(str(error))
