"""Real server processes, and the system's figures about them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.errors import AddressError
from service.server.spawn import ServerProcess
from service.system.listener import listen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cifar10net.config import Access

MIB = 1 << 20


class Server(ServerProcess):
    """A server whose log is read and whose processes are looked at."""

    def __init__(self, log: Path, *arguments: object, port: int = 0, access: Access | None = None) -> None:
        super().__init__(*map(str, arguments), "--log-format", "json", port=port, log=log, access=access)
        self._log_file = log

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.address.rpartition(":")[2])

    def log(self) -> list[dict[str, Any]]:
        """Read the log up to its last whole line."""
        text = self._log_file.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Find the lines of the log that say this."""
        return [line for line in self.log() if line["event"] == name]

    def workers(self) -> list[int]:
        """Return the process ids of the workers that live."""
        return [pid for pid in self.all_workers() if not is_over(pid)]

    def all_workers(self) -> list[int]:
        """Return the process ids of all workers there have ever been."""
        return [event["pid"] for event in self.events("worker started")]

    def clean_up(self) -> None:
        """Leave no process behind."""
        if self._process is not None and self._process.returncode is None:
            self.stop()
        for pid in self.all_workers():
            if not is_over(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of loopback."""
    try:
        listen("127.0.0.1", port).close()
    except AddressError:
        return False
    return True


@contextlib.contextmanager
def pinned_to(*cpus: int) -> Iterator[None]:
    """Give processes that are started within the block these CPUs only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def is_over(pid: int) -> bool:
    """Whether a process has ended."""
    return _stat(pid)[:1] in ([], ["Z"])


def cpu_ticks(pid: int) -> int:
    """How long a process has used a CPU, in the system's ticks."""
    return sum(map(int, _stat(pid)[11:13]))


def sockets(pid: int) -> set[str]:
    """Name the sockets that a process has open."""
    return {file for file in _open_files(pid) if file.startswith("socket:")}


def files(pid: int) -> int:
    """How many files a process has open."""
    return len(_open_files(pid))


def threads(pid: int) -> int:
    """How many threads a process has."""
    return _status(pid, "Threads")


def memory(pid: int) -> int:
    """Bytes that a process has in memory."""
    return _status(pid, "VmRSS") * 1024


def peak_memory(pid: int) -> int:
    """Most bytes that a process has ever had in memory."""
    return _status(pid, "VmHWM") * 1024


def _stat(pid: int) -> list[str]:
    """Return the fields of a process' state, from its third on; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _status(pid: int, field: str) -> int:
    [line] = [
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(field + ":")
    ]
    return int(line.split()[1])


def _open_files(pid: int) -> list[str]:
    links = []
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links.append(str(file.readlink()))
    return links
