"""Runs a number of worker processes behind one port.

The supervisor listens as long as the server lives, so that the port outlives any worker, and passes accepted
connections to its workers. A worker that dies is replaced. SIGTERM and SIGINT stop the workers, which drain
first; so do the workers of a supervisor that was killed, when their sockets close. It imports little, since
it stays in memory beside its workers.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import structlog

from service.config import SecurityConfig
from service.errors import StartupError
from service.observability.metrics.endpoint import Endpoint
from service.observability.metrics.snapshot import SERVER_METRICS_TOPIC
from service.system.listener import format_address, listen
from service.system.rlimit import raise_open_files_limit
from service.workers.acceptor import Acceptor
from service.workers.control_client import CONTROL_FD_VARIABLE
from service.workers.control_hub import ControlHub
from service.workers.fd_passing import CONNECTIONS_FD_VARIABLE, ConnectionSender
from service.workers.metrics_aggregator import MetricsAggregator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.config import ServerConfig

_INITIAL_BACKOFF_S = 0.1  # before a worker that died is replaced; doubled while its successors die early
_MAX_BACKOFF_S = 10.0
_BACKOFF_RESET_S = 30.0  # a worker that lived this long did not die early
_MARGIN_S = 5.0  # for a worker to end, beyond its drain delay and grace period
_FAILED = 1
_log = structlog.get_logger(__name__)


async def supervise(config: ServerConfig, command: Sequence[str], on_ready: Callable[[str], None]) -> int:
    """Serve with worker processes until SIGTERM or SIGINT, then stop them.

    Args:
        config: where to listen, how many workers, how long they may take to stop.
        command: starts a worker, which finds its file descriptors in the environment variables
            CONNECTIONS_FD_VARIABLE and CONTROL_FD_VARIABLE.
        on_ready: called with the address ``host:port`` once all workers are ready.

    Returns:
        The exit code: 0 if all workers stopped cleanly, 1 if not, or that of a worker that could not start,
        which has logged why.

    Raises:
        StartupError: the address is taken, or the system cannot start a process; nothing was served.
    """
    raise_open_files_limit(config.max_connections)
    acceptor = Acceptor(listen(config.host, config.port))
    address = format_address(config.host, acceptor.port)
    hub = ControlHub()
    aggregator = MetricsAggregator(hub)
    hub.handle(SERVER_METRICS_TOPIC, aggregator.answer)
    endpoint = Endpoint(config.metrics_host, config.metrics_port, aggregator.collect)
    stop_s = config.drain_delay_s + config.grace_s + _MARGIN_S
    workers = _WorkerPool(command, acceptor, hub, aggregator, stop_s)
    if config.security != SecurityConfig():
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, workers.reload)
    try:
        await endpoint.open()
        code = await workers.start(config.workers)
        if code is None:
            _log.info("serving", address=address, workers=config.workers)
            on_ready(address)
            await workers.wait_for_signal()
        _log.info("stopping", drain_delay_s=config.drain_delay_s, grace_s=config.grace_s)
        stop_code = await workers.stop()
        code = code or stop_code
        _log.info("stopped", exit_code=code)
        return code
    finally:
        workers.kill()
        await endpoint.close()
        aggregator.close()
        hub.close()
        acceptor.close()


@dataclass
class _WorkerProcess:
    number: int
    """Unique, also among workers that have ended."""
    process: subprocess.Popen[bytes]
    sender: ConnectionSender
    started_s: float
    backoff_s: float
    """How long to wait before it is replaced if it dies early."""
    is_announced: bool = False
    """Whether its being ready was logged."""


class _WorkerPool:
    """The worker processes."""

    def __init__(
        self,
        command: Sequence[str],
        acceptor: Acceptor,
        hub: ControlHub,
        aggregator: MetricsAggregator,
        stop_s: float,
    ) -> None:
        self._command = command
        self._acceptor = acceptor
        self._hub = hub
        self._aggregator = aggregator
        self._stop_s = stop_s
        self._workers: list[_WorkerProcess] = []
        self._numbers = count()
        self._changed = asyncio.Event()
        self._is_signalled = False
        self._is_serving = False
        self._is_stopping = False
        self._start_code: int | None = None
        self._stop_code = 0
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop_signal)

    async def start(self, count: int) -> int | None:
        """Start the workers and wait until all are ready.

        One is started before all others, so that a wrong setting is reported once, not by each.

        Returns:
            None; the exit code if a worker ended before it was ready; or 0 if a signal says to stop.
        """
        for number in (1, count - 1):
            await self._start_workers(number)
            if self._is_start_over:
                return self._start_code or 0
        self._is_serving = True
        return None

    async def wait_for_signal(self) -> None:
        """Wait for SIGTERM or SIGINT."""
        await self._until(lambda: self._is_signalled)

    async def stop(self) -> int:
        """Stop the workers; kill those that take too long. Returns 0 if all stopped cleanly."""
        self._is_stopping = True
        self._acceptor.stop()
        for worker in self._workers:
            worker.process.terminate()
        try:
            async with asyncio.timeout(self._stop_s):
                await self._until(lambda: not self._workers)
        except TimeoutError:
            _log.error("workers killed", pids=[worker.process.pid for worker in self._workers])
            self.kill()
            await self._until(lambda: not self._workers)
        return self._stop_code

    def reload(self) -> None:
        """Have the workers reload keys and certificates; one that is still starting reads them anyway."""
        for worker in self._workers:
            if worker.sender.has_been_ready:
                worker.process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """Kill all worker processes."""
        for worker in self._workers:
            worker.process.kill()

    def _on_stop_signal(self) -> None:
        self._is_signalled = True
        self._changed.set()

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._changed.clear()
            await self._changed.wait()

    @property
    def _is_start_over(self) -> bool:
        return self._is_signalled or self._start_code is not None

    async def _start_workers(self, count: int) -> None:
        """Start workers, and wait until they are ready or the start is over."""
        try:
            workers = [self._start_worker(_INITIAL_BACKOFF_S) for _ in range(count)]
        except OSError as error:
            raise StartupError(f"cannot start a worker process: {error.strerror}") from error
        await self._until(
            lambda: self._is_start_over or all(worker.sender.has_been_ready for worker in workers)
        )

    def _sender_changed(self) -> None:
        for worker in self._workers:
            if worker.sender.has_been_ready and not worker.is_announced:
                worker.is_announced = True
                _log.info("worker ready", pid=worker.process.pid)
        self._acceptor.update()
        self._changed.set()

    def _start_worker(self, backoff_s: float) -> _WorkerProcess:
        sender = ConnectionSender(self._sender_changed)
        number = next(self._numbers)
        control = self._hub.add(number)
        try:
            process = subprocess.Popen(  # noqa: S603 - our own command
                self._command,
                stdin=subprocess.DEVNULL,
                pass_fds=(sender.worker_fd, control.fileno()),
                env={
                    **os.environ,
                    CONNECTIONS_FD_VARIABLE: str(sender.worker_fd),
                    CONTROL_FD_VARIABLE: str(control.fileno()),
                },
                # Ctrl-C signals a terminal's whole process group; only the supervisor may stop the workers.
                start_new_session=True,
            )
        except OSError:
            sender.close()
            self._hub.remove(number)
            raise
        finally:
            control.close()
        sender.close_workers_end()
        worker = _WorkerProcess(number, process, sender, time.monotonic(), backoff_s)
        self._workers.append(worker)
        self._acceptor.add(sender)
        self._aggregator.add(number)
        _log.info("worker started", pid=process.pid)
        return worker

    def _reap(self) -> None:
        for worker in list(self._workers):
            code = worker.process.poll()
            if code is not None:
                self._ended(worker, code)
        self._changed.set()

    def _ended(self, worker: _WorkerProcess, code: int) -> None:
        self._workers.remove(worker)
        self._acceptor.remove(worker.sender)
        self._aggregator.remove(worker.number)
        self._hub.remove(worker.number)
        log = _log.bind(pid=worker.process.pid, connections=worker.sender.connections, **_cause(code))
        if self._is_stopping:
            # One that was still starting had no handler for SIGTERM yet, and nothing to finish.
            is_clean = code == 0 or (code == -signal.SIGTERM and not worker.sender.has_been_ready)
            self._stop_code = self._stop_code if is_clean else _FAILED
            log.info("worker ended")
        elif not self._is_serving and not worker.sender.has_been_ready:
            self._start_code = code if code > 0 else _FAILED
            log.error("worker did not start")
        else:
            delay_s = _backoff_s(worker.backoff_s, time.monotonic() - worker.started_s)
            log.error("worker ended, another follows", delay_s=delay_s)
            self._replace_in(delay_s)

    def _replace_in(self, delay_s: float) -> None:
        """Start another worker after a delay, with twice the backoff."""
        asyncio.get_running_loop().call_later(delay_s, self._replace, 2 * delay_s)

    def _replace(self, backoff_s: float) -> None:
        if self._is_stopping:
            return
        try:
            self._start_worker(backoff_s)
        except OSError as error:
            delay_s = _backoff_s(backoff_s, lived_s=0.0)
            _log.error("no worker can be started", reason=error.strerror, delay_s=delay_s)
            self._replace_in(delay_s)
        else:
            self._aggregator.restarts += 1


def _backoff_s(early_backoff_s: float, lived_s: float) -> float:
    """Return how long to wait before a worker that died is replaced; ``early_backoff_s`` if it died early."""
    return min(early_backoff_s, _MAX_BACKOFF_S) if lived_s < _BACKOFF_RESET_S else _INITIAL_BACKOFF_S


def _cause(code: int) -> dict[str, int | str]:
    """Return the log fields for a process' exit code, or for the signal that killed it."""
    return {"exit_code": code} if code >= 0 else {"signal": signal.Signals(-code).name}
