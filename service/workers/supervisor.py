"""Keeps a number of worker processes at work behind one port.

The port stays open here as long as the server lives, so that no worker's end closes it, and connections are
accepted here and passed on. A worker that dies is replaced. SIGTERM and SIGINT end the workers, each of which
finishes what it has; if this process is killed, their doors tell them. Knows nothing of models nor of what
is said over a connection, and imports little: it is there all the time beside its workers.
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
from service.observability.metrics.snapshot import TOTALS_TOPIC
from service.system.listener import as_text, listen
from service.system.rlimit import make_room
from service.workers.acceptor import Reception
from service.workers.control_client import FD_VARIABLE as INTERCOM_FD_VARIABLE
from service.workers.control_hub import Exchange
from service.workers.fd_passing import FD_VARIABLE as DOOR_FD_VARIABLE
from service.workers.fd_passing import Hatch
from service.workers.metrics_aggregator import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.config import ServerConfig

_FIRST_DELAY_S = 0.1  # before a worker that died is replaced; doubled each time that it soon dies again
_LONGEST_DELAY_S = 10.0
_LONG_LIFE_S = 30.0  # a death after this is no repetition
_MARGIN_S = 5.0  # that a worker gets beyond its drain delay and grace period
_FAILED = 1
_log = structlog.get_logger(__name__)


async def supervise(config: ServerConfig, command: Sequence[str], on_ready: Callable[[str], None]) -> int:
    """Serve with worker processes until SIGTERM or SIGINT, then end them.

    Args:
        config: where to listen, how many workers, how long they may take to end.
        command: starts a worker, which finds its door and its intercom by the environment (see
            service.workers.fd_passing and service.workers.control_client).
        on_ready: is told the address ``host:port`` once all workers are ready.

    Returns:
        The exit code: 0 if all workers ended well, 1 if not, or that of a worker that could not start, which
        has said why.

    Raises:
        StartupError: the address is taken, or the system starts no process; nothing was served.
    """
    make_room(config.max_connections)
    reception = Reception(listen(config.host, config.port))
    address = as_text(config.host, reception.port)
    exchange = Exchange()
    collector = Collector(exchange)
    exchange.answer(TOTALS_TOPIC, collector.answer)
    endpoint = Endpoint(config.metrics_host, config.metrics_port, collector.collect)
    stop_s = config.drain_delay_s + config.grace_s + _MARGIN_S
    crew = _Crew(command, reception, exchange, collector, stop_s)
    if config.security != SecurityConfig():
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, crew.reload)
    try:
        await endpoint.open()
        code = await crew.start(config.workers)
        if code is None:
            _log.info("serving", address=address, workers=config.workers)
            on_ready(address)
            await crew.told_to_stop()
        _log.info("stopping", drain_delay_s=config.drain_delay_s, grace_s=config.grace_s)
        stop_code = await crew.stop()
        code = code or stop_code
        _log.info("stopped", exit_code=code)
        return code
    finally:
        crew.kill()
        await endpoint.close()
        collector.close()
        exchange.close()
        reception.close()


@dataclass
class _Worker:
    number: int
    """Never given again to another one."""
    process: subprocess.Popen[bytes]
    hatch: Hatch
    started_s: float
    delay_s: float
    """Before it is replaced if it dies soon."""
    is_announced: bool = False
    """Whether the log says that it is ready."""


class _Crew:
    """The worker processes."""

    def __init__(
        self,
        command: Sequence[str],
        reception: Reception,
        exchange: Exchange,
        collector: Collector,
        stop_s: float,
    ) -> None:
        self._command = command
        self._reception = reception
        self._exchange = exchange
        self._collector = collector
        self._stop_s = stop_s
        self._workers: list[_Worker] = []
        self._numbers = count()
        self._changed = asyncio.Event()
        self._is_told_to_stop = False
        self._is_serving = False
        self._is_stopping = False
        self._start_code: int | None = None
        self._stop_code = 0
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._tell_to_stop)

    async def start(self, count: int) -> int | None:
        """Start the workers and wait until all are ready.

        The first one goes ahead: what is wrong with the settings is then said once, not by each.

        Returns:
            None; the exit code if a worker ended before it was ready, or 0 if this server is told to stop.
        """
        for number in (1, count - 1):
            await self._start_workers(number)
            if self._is_start_over:
                return self._start_code or 0
        self._is_serving = True
        return None

    async def told_to_stop(self) -> None:
        """Wait for SIGTERM or SIGINT."""
        await self._until(lambda: self._is_told_to_stop)

    async def stop(self) -> int:
        """End the workers; kill those that take too long. Returns 0 if all ended well."""
        self._is_stopping = True
        self._reception.stop()
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
        """Have the workers read anew the files that they follow; one that starts now does so anyway."""
        for worker in self._workers:
            if worker.hatch.has_been_ready:
                worker.process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """Leave no process behind, whatever happens."""
        for worker in self._workers:
            worker.process.kill()

    def _tell_to_stop(self) -> None:
        self._is_told_to_stop = True
        self._changed.set()

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._changed.clear()
            await self._changed.wait()

    @property
    def _is_start_over(self) -> bool:
        return self._is_told_to_stop or self._start_code is not None

    async def _start_workers(self, count: int) -> None:
        """Start workers and wait until they are ready, or need not be any more."""
        try:
            workers = [self._start_worker(_FIRST_DELAY_S) for _ in range(count)]
        except OSError as error:
            raise StartupError(f"cannot start a worker process: {error.strerror}") from error
        await self._until(
            lambda: self._is_start_over or all(worker.hatch.has_been_ready for worker in workers)
        )

    def _hatch_changed(self) -> None:
        for worker in self._workers:
            if worker.hatch.has_been_ready and not worker.is_announced:
                worker.is_announced = True
                _log.info("worker ready", pid=worker.process.pid)
        self._reception.update()
        self._changed.set()

    def _start_worker(self, delay_s: float) -> _Worker:
        hatch = Hatch(self._hatch_changed)
        number = next(self._numbers)
        line = self._exchange.add(number)
        try:
            process = subprocess.Popen(  # noqa: S603 - our own command
                self._command,
                stdin=subprocess.DEVNULL,
                pass_fds=(hatch.other_fd, line.fileno()),
                env={
                    **os.environ,
                    DOOR_FD_VARIABLE: str(hatch.other_fd),
                    INTERCOM_FD_VARIABLE: str(line.fileno()),
                },
                # Ctrl-C reaches a terminal's whole process group; workers are to hear it from here only.
                start_new_session=True,
            )
        except OSError:
            hatch.close()
            self._exchange.remove(number)
            raise
        finally:
            line.close()
        hatch.close_other()
        worker = _Worker(number, process, hatch, time.monotonic(), delay_s)
        self._workers.append(worker)
        self._reception.add(hatch)
        self._collector.add(number)
        _log.info("worker started", pid=process.pid)
        return worker

    def _reap(self) -> None:
        for worker in list(self._workers):
            code = worker.process.poll()
            if code is not None:
                self._ended(worker, code)
        self._changed.set()

    def _ended(self, worker: _Worker, code: int) -> None:
        self._workers.remove(worker)
        self._reception.remove(worker.hatch)
        self._collector.remove(worker.number)
        self._exchange.remove(worker.number)
        log = _log.bind(pid=worker.process.pid, connections=worker.hatch.connections, **_cause(code))
        if self._is_stopping:
            # One that was still starting had no handler for SIGTERM yet, and nothing to finish.
            is_well = code == 0 or (code == -signal.SIGTERM and not worker.hatch.has_been_ready)
            self._stop_code = self._stop_code if is_well else _FAILED
            log.info("worker ended")
        elif not self._is_serving and not worker.hatch.has_been_ready:
            self._start_code = code if code > 0 else _FAILED
            log.error("worker did not start")
        else:
            delay_s = _delay_s(worker.delay_s, time.monotonic() - worker.started_s)
            log.error("worker ended, another follows", delay_s=delay_s)
            self._replace_in(delay_s)

    def _replace_in(self, delay_s: float) -> None:
        asyncio.get_running_loop().call_later(delay_s, self._replace, 2 * delay_s)

    def _replace(self, delay_s: float) -> None:
        if self._is_stopping:
            return
        try:
            self._start_worker(delay_s)
        except OSError as error:
            _log.error("no worker can be started", reason=error.strerror, delay_s=delay_s)
            self._replace_in(delay_s)
        else:
            self._collector.restarts += 1


def _delay_s(after_short_life_s: float, lived_s: float) -> float:
    """Return how long to wait before a worker that died is replaced."""
    return min(after_short_life_s, _LONGEST_DELAY_S) if lived_s < _LONG_LIFE_S else _FIRST_DELAY_S


def _cause(code: int) -> dict[str, int | str]:
    """Return a process' exit code, or the signal that killed it, for the log."""
    return {"exit_code": code} if code >= 0 else {"signal": signal.Signals(-code).name}
