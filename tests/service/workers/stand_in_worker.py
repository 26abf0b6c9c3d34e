"""A stand-in for a worker, without models, that answers each line with its process id.

Its argument is a folder whose files control it: ``fail`` ends it before it is ready, ``hang`` keeps it from
becoming ready, ``stubborn`` makes it ignore SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from service.workers.fd_passing import CONNECTIONS_FD_VARIABLE, ConnectionReceiver

if TYPE_CHECKING:
    import socket


class _Worker:
    """Answers until it is stopped and its last connection has ended."""

    def __init__(self, receiver: ConnectionReceiver) -> None:
        self._receiver = receiver
        self._is_stopping = False
        self._conversations: set[asyncio.Task[None]] = set()
        self.ended = asyncio.Event()

    def take(self, connection: socket.socket) -> None:
        task = asyncio.create_task(_converse(connection))
        self._conversations.add(task)
        task.add_done_callback(self._conversation_ended)

    def stop(self) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self._receiver.report_stopping()
        self._end_if_idle()

    def _conversation_ended(self, task: asyncio.Task[None]) -> None:
        self._conversations.discard(task)
        self._receiver.report_connection_closed()
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._is_stopping and not self._conversations:
            self.ended.set()


async def _converse(connection: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=connection)
    while line := await reader.readline():
        writer.write(b"%d %s" % (os.getpid(), line))
        await writer.drain()
    writer.close()


async def main(folder: Path) -> None:
    if (folder / "fail").exists():
        sys.exit("this worker cannot start")
    if (folder / "hang").exists():
        await asyncio.sleep(3_600)
    receiver = ConnectionReceiver(int(os.environ[CONNECTIONS_FD_VARIABLE]))
    worker = _Worker(receiver)
    on_sigterm = (lambda: None) if (folder / "stubborn").exists() else worker.stop
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, on_sigterm)
    receiver.open(worker.take, worker.stop)
    receiver.report_ready()
    await worker.ended.wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
