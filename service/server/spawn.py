"""Runs ``cifar10net serve`` or ``cifar10net web`` in a child process, for examples, benchmarks and tests."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Self

from service.config import PAGE_PREFIX, READY_PREFIX
from service.errors import StartupError
from service.server.health_check import check_health

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cifar10net.config import Access


class CommandProcess:
    """A command of ``cifar10net`` that prints its address once it answers; leaving the context stops it."""

    _command: ClassVar[str]
    _prefix: ClassVar[str]
    """What it prints before its address."""

    def __init__(
        self,
        *arguments: str,
        port: int = 0,
        start_s: float = 120.0,
        stop_s: float = 60.0,
        log: Path | None = None,
    ) -> None:
        """Prepare the process; ``start`` runs it.

        Args:
            arguments: options of the command, except ``--port``.
            port: 0 takes a free one.
            start_s: most seconds until it answers.
            stop_s: seconds after SIGTERM until it is killed.
            log: file for its log; None leaves it on standard error.
        """
        self._arguments = (self._command, *arguments, "--port", str(port))
        self._start_s = start_s
        self._stop_s = stop_s
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self.address = ""

    @property
    def pid(self) -> int:
        """The process id."""
        return self._running().pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self.stop()

    def start(self) -> None:
        """Start the process and wait for its address. Raises StartupError if it ends or takes too long."""
        self._process = _spawn(self._arguments, self._log)
        line = _first_line(self._process, self._start_s)
        if not line.startswith(self._prefix):
            code = self.stop()
            raise StartupError(
                f"cifar10net {self._command} did not start (exit code {code}); its log says why"
            )
        self.address = line.removeprefix(self._prefix).strip()

    def terminate(self) -> None:
        """Send SIGTERM and return at once."""
        self._running().terminate()

    def wait(self) -> int:
        """Wait for the end of the process, killing it after ``stop_s``; return its exit code."""
        process = self._running()
        try:
            return process.wait(self._stop_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
        finally:
            if process.stdout is not None:
                process.stdout.close()

    def stop(self) -> int:
        """Send SIGTERM and wait; return the exit code, 0 after a graceful shutdown."""
        self.terminate()
        return self.wait()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise StartupError(f"cifar10net {self._command} has not been started")
        return self._process


class ServerProcess(CommandProcess):
    """``cifar10net serve`` on a loopback port."""

    _command, _prefix = "serve", READY_PREFIX

    def __init__(self, *arguments: str, access: Access | None = None, **others: Any) -> None:  # noqa: ANN401 - as above
        """Prepare a server; ``access`` is for its health check, the rest as for ``CommandProcess``."""
        super().__init__(*arguments, **others)
        self._access = access

    def start(self) -> None:
        """Start the process and wait until its health is SERVING. Raises StartupError."""
        super().start()
        status = check_health(self.address, self._start_s, access=self._access)
        if status != "SERVING":
            self.stop()
            raise StartupError(f"the server's health is {status}, wanted SERVING")


class PageProcess(CommandProcess):
    """``cifar10net web`` on a loopback port; its address is a URL."""

    _command, _prefix = "web", PAGE_PREFIX


def _spawn(arguments: Sequence[str], log: Path | None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "service.cli", *arguments]
    with nullcontext() if log is None else log.open("ab") as errors:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)  # noqa: S603 - ours


def _first_line(process: subprocess.Popen[str], timeout_s: float) -> str:
    """Read a line of standard output; empty if the process ends or time runs out first."""
    lines: list[str] = []

    def read() -> None:
        if process.stdout is not None:
            lines.append(process.stdout.readline())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(timeout_s)
    return lines[0] if lines else ""
