"""A real server, or a page, in a process of its own, for demonstrations, benchmarks and tests."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cifar10net.channel import open_channel
from cifar10net.config import Access
from service.config import PAGE_PREFIX, READY_PREFIX
from service.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class CommandProcess:
    """Runs a command that prints where it answers; a context manager, which stops it."""

    def __init__(
        self,
        *arguments: str,
        prefix: str,
        port: int = 0,
        start_s: float = 120.0,
        stop_s: float = 60.0,
        log: Path | None = None,
    ) -> None:
        """Prepare it.

        Args:
            arguments: the command of ``cifar10net`` and its options beside the port.
            prefix: what it prints before its address.
            port: 0 takes one that is free.
            start_s: how long it may take until it answers.
            stop_s: how long it may take to end after SIGTERM, before it is killed.
            log: where its log goes; None leaves it on standard error.
        """
        self._arguments = (*arguments, "--port", str(port))
        self._prefix = prefix
        self._start_s = start_s
        self._stop_s = stop_s
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self.address = ""

    @property
    def pid(self) -> int:
        """Its process id while it runs."""
        return self._running().pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self.stop()

    def start(self) -> None:
        """Start the process and wait for its address.

        Raises:
            StartupError: it ended, or did not answer in time.
        """
        self._process = _spawn(self._arguments, self._log)
        line = _first_line(self._process, self._start_s)
        if not line.startswith(self._prefix):
            code = self.stop()
            raise StartupError(
                f"cifar10net {self._arguments[0]} did not start (exit code {code}); its log says why"
            )
        self.address = line.removeprefix(self._prefix).strip()

    def terminate(self) -> None:
        """Send SIGTERM and return at once."""
        self._running().terminate()

    def wait(self) -> int:
        """Wait until the process has ended; kill it if it takes too long. Returns its exit code."""
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
        """Send SIGTERM and wait. Returns the exit code: 0 for a graceful end."""
        self.terminate()
        return self.wait()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise StartupError(f"cifar10net {self._arguments[0]} has not been started")
        return self._process


class ServerProcess(CommandProcess):
    """Runs ``cifar10net serve`` on a loopback port."""

    def __init__(
        self,
        *arguments: str,
        port: int = 0,
        start_s: float = 120.0,
        stop_s: float = 60.0,
        log: Path | None = None,
        access: Access | None = None,
    ) -> None:
        """Prepare a server with options of ``cifar10net serve``, which is reached by ``access``."""
        super().__init__(
            "serve", *arguments, prefix=READY_PREFIX, port=port, start_s=start_s, stop_s=stop_s, log=log
        )
        self._access = access

    def start(self) -> None:
        """Start the process and wait until its health says SERVING. Raises StartupError."""
        super().start()
        status = check_health(self.address, self._start_s, access=self._access)
        if status != "SERVING":
            self.stop()
            raise StartupError(f"the server's health is {status}, wanted SERVING")


class PageProcess(CommandProcess):
    """Runs ``cifar10net web`` on a loopback port; its address is a URL."""

    def __init__(self, *arguments: str, port: int = 0, log: Path | None = None) -> None:
        """Prepare a page with options of ``cifar10net web``."""
        super().__init__("web", *arguments, prefix=PAGE_PREFIX, port=port, log=log)


def check_health(address: str, timeout_s: float, service: str = "", access: Access | None = None) -> str:
    """Ask ``grpc.health.v1`` once the server accepts connections.

    Returns:
        ``SERVING``, ``NOT_SERVING``, or the gRPC status of a check that got no answer:
        ``DEADLINE_EXCEEDED`` where nobody listens.

    Raises:
        ConfigError: ``address`` is no ``host:port``, or a file for TLS cannot be read.
    """
    with open_channel(address, access or Access()) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its type stubs lack the methods
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            response = stub.Check(request, timeout=timeout_s, wait_for_ready=True)
        except grpc.RpcError as error:
            return str(error.code().name)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


def _spawn(arguments: Sequence[str], log: Path | None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "service.cli", *arguments]
    if log is None:
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours
    with log.open("ab") as file:
        return subprocess.Popen(  # noqa: S603 - our own command
            command, stdout=subprocess.PIPE, stderr=file, text=True
        )


def _first_line(process: subprocess.Popen[str], timeout_s: float) -> str:
    """Wait for a line on standard output; empty when the process ends or time runs out first."""
    lines: list[str] = []

    def read() -> None:
        if process.stdout is not None:
            lines.append(process.stdout.readline())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(timeout_s)
    return lines[0] if lines else ""
