"""Passes accepted connections from the supervisor to its workers, over a pair of Unix sockets each.

Every message is one byte. Down goes a connection, its file descriptor attached; up go "ready", "taken" and
"closed" for each connection, and "stopping". The end of the stream says that the other side is gone.
Single bytes need no boundaries between messages, so an ordinary stream will do (macOS has no other), and many
of them are heard at once. Knows nothing of processes nor of what is said over the connections.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

FD_VARIABLE = "CIFAR10NET_DOOR_FD"
"""Environment variable that tells a worker the file descriptor of its door."""

_CONNECTION = b"n"
_READY = b"r"
_TAKEN = b"t"
_CLOSED = b"c"
_STOPPING = b"s"
_AT_A_TIME = 64  # connections taken before the loop turns to others
_log = structlog.get_logger(__name__)


class Door:
    """A worker's end: connections come in through it."""

    def __init__(self, fd: int) -> None:
        self._control = _adopt(fd)
        self._unsent = bytearray()
        self._is_short_of_files = False

    def open(self, on_connection: Callable[[socket.socket], None], on_closed: Callable[[], None]) -> None:
        """Start to take connections, in the running event loop.

        Args:
            on_connection: gets each connection, non-blocking; reports its end by say_connection_closed.
            on_closed: is told once that no connection will come any more. Unless this worker has said that
                it is stopping, the supervisor is gone and the worker has to end by itself.
        """
        asyncio.get_running_loop().add_reader(self._control, self._take, on_connection, on_closed)

    def say_ready(self) -> None:
        """Ask for connections."""
        self._say(_READY)

    def say_connection_closed(self) -> None:
        """Report that a connection which came through this door has ended."""
        self._say(_CLOSED)

    def say_stopping(self) -> None:
        """Ask for no more connections; those on their way still come, then on_closed is told."""
        self._say(_STOPPING)

    def close(self) -> None:
        """Leave; may be called again. Connections that were not taken go to another worker."""
        if self._control.fileno() < 0:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._control)
        loop.remove_writer(self._control)
        self._control.close()

    def _take(self, on_connection: Callable[[socket.socket], None], on_closed: Callable[[], None]) -> None:
        for _ in range(_AT_A_TIME):
            try:
                message, fds, _, _ = socket.recv_fds(self._control, 1, 1)
            except BlockingIOError:
                return
            except OSError:
                message, fds = b"", []
            if not message:
                asyncio.get_running_loop().remove_reader(self._control)
                on_closed()
                return
            self._say(_TAKEN)
            if fds:
                self._is_short_of_files = False
                on_connection(_adopt(fds[0]))
            else:
                self._miss_connection()

    def _miss_connection(self) -> None:
        """Count a connection that the system could not give this process: it has too many open files."""
        self.say_connection_closed()
        if not self._is_short_of_files:
            _log.error("connection refused", reason="too many open files")
        self._is_short_of_files = True

    def _say(self, message: bytes) -> None:
        if self._control.fileno() >= 0:
            self._unsent += message
            self._send()

    def _send(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            del self._unsent[: self._control.send(self._unsent)]
        except BlockingIOError:
            pass  # the rest goes out once there is room
        except OSError:
            self._unsent.clear()  # nobody listens any more, which the reader finds out too
        if self._unsent:
            loop.add_writer(self._control, self._send)
        else:
            loop.remove_writer(self._control)


class Hatch:
    """The supervisor's end: passes connections to one worker and knows how many it has."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """Make a pair of sockets.

        Args:
            on_change: is told when the worker becomes ready, stops, or is gone.
        """
        self._control, self._other = socket.socketpair()
        self._control.settimeout(0)
        self._on_change = on_change
        self._untaken: deque[socket.socket] = deque()
        self.connections = 0
        """Open ones, those that the worker has yet to take included."""
        self.has_been_ready = False
        self.is_open = False
        """Whether the worker wants connections."""
        asyncio.get_running_loop().add_reader(self._control, self._hear)

    @property
    def other_fd(self) -> int:
        """File descriptor of the worker's end, for the new process to inherit."""
        return self._other.fileno()

    def close_other(self) -> None:
        """Close the worker's end in this process, so that the worker's death ends the stream."""
        self._other.close()

    def pass_on(self, connection: socket.socket) -> bool:
        """Pass a connection to the worker, and own it from then on. Returns False if there is no room."""
        try:
            socket.send_fds(self._control, [_CONNECTION], [connection.fileno()])
        except OSError:  # full, or too many files in flight; if the worker is gone, the reader finds out
            return False
        # Kept until the worker has it: what a dead worker did not take goes to another one.
        self._untaken.append(connection)
        self.connections += 1
        return True

    def close(self) -> list[socket.socket]:
        """Forget a worker that has ended; may be called again. Returns the connections that it never took."""
        if self._control.fileno() < 0:
            return []
        self._hear()
        self.is_open = False
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        self._other.close()
        untaken = list(self._untaken)
        self._untaken.clear()
        self.connections -= len(untaken)
        return untaken

    def _hear(self) -> None:
        was_open = self.is_open
        while said := self._receive():
            self._note(said)
        if said is not None:
            self.is_open = False
            asyncio.get_running_loop().remove_reader(self._control)
        if self.is_open != was_open:
            self._on_change()

    def _receive(self) -> bytes | None:
        """Return what the worker says: None for nothing yet, empty once it is gone."""
        try:
            return self._control.recv(4_096)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _note(self, said: bytes) -> None:
        for _ in range(said.count(_TAKEN)):
            self._untaken.popleft().close()
        self.connections -= said.count(_CLOSED)
        if _READY in said:
            self.has_been_ready = self.is_open = True
        if _STOPPING in said:
            self.is_open = False
            self._control.shutdown(socket.SHUT_WR)


def _adopt(fd: int) -> socket.socket:
    """Make a non-blocking socket, which no child process inherits, of a file descriptor that was received."""
    os.set_inheritable(fd, False)  # noqa: FBT003 - it has no name
    adopted = socket.socket(fileno=fd)
    adopted.settimeout(0)
    return adopted
