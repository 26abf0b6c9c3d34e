"""Accepts connections and shares them out among the workers that want some.

In come the listening socket and the hatches of workers; each connection goes through the open hatch with the
fewest. While none is open, or none has room, connections wait in the system's queue. Knows nothing of
processes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    import socket

    from service.workers.fd_passing import Hatch

_AT_A_TIME = 64  # connections accepted before the loop turns to others
_PAUSE_S = 0.1  # before accepting is tried again when there was no room
_log = structlog.get_logger(__name__)


class Reception:
    """Stands between the listening socket, which it owns, and the workers."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._hatches: list[Hatch] = []
        self._held: deque[socket.socket] = deque()
        self._pause: asyncio.TimerHandle | None = None
        self._has_complained = False
        self._is_stopping = False

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._listening.getsockname()[1])

    def add(self, hatch: Hatch) -> None:
        """Pass connections through this hatch too, whenever it is open."""
        self._hatches.append(hatch)
        self.update()

    def remove(self, hatch: Hatch) -> None:
        """Close the hatch of a worker that has ended; others get the connections that it never took."""
        self._hatches.remove(hatch)
        self._held.extend(hatch.close())
        self.update()

    def update(self) -> None:
        """Accept or not, as there are workers to pass connections to; called when a hatch changes."""
        is_open = any(hatch.is_open for hatch in self._hatches)
        if self._is_closed or (self._is_stopping and not is_open):
            self.close()
        elif is_open and self._pause is None and self._pass_on():
            asyncio.get_running_loop().add_reader(self._listening, self._accept)
        else:
            asyncio.get_running_loop().remove_reader(self._listening)

    def stop(self) -> None:
        """Close the port as soon as no worker wants connections any more."""
        self._is_stopping = True
        self.update()

    def close(self) -> None:
        """Close the port at once, and connections that no worker has got; may be called again."""
        if not self._is_closed:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
        while self._held:
            self._held.popleft().close()

    @property
    def _is_closed(self) -> bool:
        return self._listening.fileno() < 0

    def _accept(self) -> None:
        for _ in range(_AT_A_TIME):
            try:
                connection, _ = self._listening.accept()
            except BlockingIOError:
                self._has_complained = False
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:  # such as too many open files
                self._rest(str(error.strerror))
                return
            self._held.append(connection)
            if not self._pass_on():
                return

    def _pass_on(self) -> bool:
        """Pass on what is held; False if there was no room for all of it."""
        while self._held:
            hatches = sorted(
                (hatch for hatch in self._hatches if hatch.is_open), key=lambda hatch: hatch.connections
            )
            if not any(hatch.pass_on(self._held[0]) for hatch in hatches):
                self._rest("no worker has room")
                return False
            self._held.popleft()
        return True

    def _rest(self, reason: str) -> None:
        """Stop accepting for a moment: trying again at once could only fail again, without end."""
        if not self._has_complained:
            _log.warning("connections wait", reason=reason)
        self._has_complained = True
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listening)
        self._pause = loop.call_later(_PAUSE_S, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self.update()
