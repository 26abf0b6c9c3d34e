"""Passes accepted connections from the supervisor to a worker, as file descriptors over a Unix socket pair.

Every message is one byte. The supervisor sends connections, each with its file descriptor attached; the
worker sends "ready", "stopping", and "taken" and "closed" for each connection. End of stream means that the
other side is gone. Single bytes need no message boundaries, so a stream socket will do (macOS has no
SEQPACKET), and many of them are read at once.
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

CONNECTIONS_FD_VARIABLE = "CIFAR10NET_DOOR_FD"
"""Environment variable with the file descriptor through which a worker receives connections."""

_CONNECTION = b"n"
_READY = b"r"
_TAKEN = b"t"
_CLOSED = b"c"
_STOPPING = b"s"
_MAX_AT_ONCE = 64  # connections received before the event loop turns to others
_log = structlog.get_logger(__name__)


class ConnectionReceiver:
    """A worker's end."""

    def __init__(self, fd: int) -> None:
        self._control = _adopt(fd)
        self._unsent = bytearray()
        self._is_out_of_files = False

    def open(self, on_connection: Callable[[socket.socket], None], on_closed: Callable[[], None]) -> None:
        """Start to receive connections, in the running event loop.

        Args:
            on_connection: called with each connection, non-blocking; its end must be reported.
            on_closed: called once when no more connections will come. Unless this worker has reported that it
                is stopping, the supervisor is gone and the worker has to end by itself.
        """
        asyncio.get_running_loop().add_reader(self._control, self._receive, on_connection, on_closed)

    def report_ready(self) -> None:
        """Ask for connections."""
        self._report(_READY)

    def report_connection_closed(self) -> None:
        """Report that a connection which was received here has ended."""
        self._report(_CLOSED)

    def report_stopping(self) -> None:
        """Ask for no more connections; those already sent still arrive, then on_closed is called."""
        self._report(_STOPPING)

    def close(self) -> None:
        """Close this end; may be called again. Connections that were not taken go to another worker."""
        if self._control.fileno() < 0:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._control)
        loop.remove_writer(self._control)
        self._control.close()

    def _receive(self, on_connection: Callable[[socket.socket], None], on_closed: Callable[[], None]) -> None:
        for _ in range(_MAX_AT_ONCE):
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
            self._report(_TAKEN)
            if fds:
                self._is_out_of_files = False
                on_connection(_adopt(fds[0]))
            else:
                self._lose_connection()

    def _lose_connection(self) -> None:
        """Note a connection that the system dropped, since this process has too many open files."""
        self.report_connection_closed()
        if not self._is_out_of_files:
            _log.error("connection refused", reason="too many open files")
        self._is_out_of_files = True

    def _report(self, message: bytes) -> None:
        if self._control.fileno() >= 0:
            self._unsent += message
            self._send()

    def _send(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            del self._unsent[: self._control.send(self._unsent)]
        except BlockingIOError:
            pass  # the rest is sent once there is room
        except OSError:
            self._unsent.clear()  # the supervisor is gone, which the reader finds out too
        if self._unsent:
            loop.add_writer(self._control, self._send)
        else:
            loop.remove_writer(self._control)


class ConnectionSender:
    """The supervisor's end: sends connections to one worker and counts how many it has."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """Create the socket pair; ``on_change`` is called when the worker gets ready, stops, or is gone."""
        self._control, self._workers_end = socket.socketpair()
        self._control.settimeout(0)
        self._on_change = on_change
        self._untaken: deque[socket.socket] = deque()
        self.connections = 0
        """Open connections, including those that the worker has yet to take."""
        self.has_been_ready = False
        self.is_ready = False
        """Whether the worker wants connections."""
        asyncio.get_running_loop().add_reader(self._control, self._read)

    @property
    def worker_fd(self) -> int:
        """File descriptor of the worker's end, for the new process to inherit."""
        return self._workers_end.fileno()

    def close_workers_end(self) -> None:
        """Close the worker's end in this process, so that the worker's death ends the stream."""
        self._workers_end.close()

    def send(self, connection: socket.socket) -> bool:
        """Send a connection to the worker and take ownership of it; False if there is no room."""
        try:
            socket.send_fds(self._control, [_CONNECTION], [connection.fileno()])
        except OSError:  # full, or too many files in flight; if the worker is gone, the reader finds out
            return False
        # Kept until the worker has it: what a dead worker did not take goes to another one.
        self._untaken.append(connection)
        self.connections += 1
        return True

    def close(self) -> list[socket.socket]:
        """Close both ends, and return the connections that the worker never took; may be called again."""
        if self._control.fileno() < 0:
            return []
        self._read()
        self.is_ready = False
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        self._workers_end.close()
        untaken = list(self._untaken)
        self._untaken.clear()
        self.connections -= len(untaken)
        return untaken

    def _read(self) -> None:
        was_ready = self.is_ready
        while reports := self._receive():
            self._handle(reports)
        if reports is not None:
            self.is_ready = False
            asyncio.get_running_loop().remove_reader(self._control)
        if self.is_ready != was_ready:
            self._on_change()

    def _receive(self) -> bytes | None:
        """Return what the worker has reported: None for nothing yet, empty once it is gone."""
        try:
            return self._control.recv(4_096)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _handle(self, reports: bytes) -> None:
        for _ in range(reports.count(_TAKEN)):
            self._untaken.popleft().close()
        self.connections -= reports.count(_CLOSED)
        if _READY in reports:
            self.has_been_ready = self.is_ready = True
        if _STOPPING in reports:
            self.is_ready = False
            self._control.shutdown(socket.SHUT_WR)


def _adopt(fd: int) -> socket.socket:
    """Wrap a received file descriptor in a non-blocking socket that child processes do not inherit."""
    os.set_inheritable(fd, False)  # noqa: FBT003 - it has no name
    adopted = socket.socket(fileno=fd)
    adopted.settimeout(0)
    return adopted
