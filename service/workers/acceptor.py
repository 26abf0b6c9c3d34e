"""Accepts connections and sends each to the ready worker that has fewest.

While no worker is ready, or none has room, connections wait in the listening socket's backlog.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    import socket

    from service.workers.fd_passing import ConnectionSender

_MAX_AT_ONCE = 64  # connections accepted before the event loop turns to others
_PAUSE_S = 0.1  # before accepting is tried again when there was no room
_log = structlog.get_logger(__name__)


class Acceptor:
    """Owns the listening socket."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._senders: list[ConnectionSender] = []
        self._held: deque[socket.socket] = deque()
        self._pause: asyncio.TimerHandle | None = None
        self._has_complained = False
        self._is_stopping = False

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._listening.getsockname()[1])

    def add(self, sender: ConnectionSender) -> None:
        """Send connections to this worker too, whenever it is ready."""
        self._senders.append(sender)
        self.update()

    def remove(self, sender: ConnectionSender) -> None:
        """Remove a worker that has ended; others get the connections that it never took."""
        self._senders.remove(sender)
        self._held.extend(sender.close())
        self.update()

    def update(self) -> None:
        """Start or stop accepting; to be called when a worker gets ready or stops."""
        is_any_ready = any(sender.is_ready for sender in self._senders)
        if self._is_closed or (self._is_stopping and not is_any_ready):
            self.close()
        elif is_any_ready and self._pause is None and self._send_held():
            asyncio.get_running_loop().add_reader(self._listening, self._accept)
        else:
            asyncio.get_running_loop().remove_reader(self._listening)

    def stop(self) -> None:
        """Close the port as soon as no worker is ready any more."""
        self._is_stopping = True
        self.update()

    def close(self) -> None:
        """Close the port at once, and the connections that no worker has got; may be called again."""
        if not self._is_closed:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
        while self._held:
            self._held.popleft().close()

    @property
    def _is_closed(self) -> bool:
        return self._listening.fileno() < 0

    def _accept(self) -> None:
        for _ in range(_MAX_AT_ONCE):
            try:
                connection, _ = self._listening.accept()
            except BlockingIOError:
                self._has_complained = False
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:  # such as too many open files
                self._pause_accepting(str(error.strerror))
                return
            self._held.append(connection)
            if not self._send_held():
                return

    def _send_held(self) -> bool:
        """Send accepted connections to workers; False if there was no room for all of them."""
        while self._held:
            ready = [sender for sender in self._senders if sender.is_ready]
            ready.sort(key=lambda sender: sender.connections)
            if not any(sender.send(self._held[0]) for sender in ready):
                self._pause_accepting("no worker has room")
                return False
            self._held.popleft()
        return True

    def _pause_accepting(self, reason: str) -> None:
        """Stop accepting for a moment: an immediate retry would only fail again, in a busy loop."""
        if not self._has_complained:
            _log.warning("connections wait", reason=reason)
        self._has_complained = True
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listening)
        self._pause = loop.call_later(_PAUSE_S, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self.update()
