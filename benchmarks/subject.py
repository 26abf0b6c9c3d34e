"""A server pinned to some cores, and the CPU time that it uses under load."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from benchmarks import generator, h2load, machine
from benchmarks.generator import Target
from service.server.spawn import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import ProcessPoolExecutor
    from pathlib import Path

    from benchmarks.front_process import FrontProcess
    from benchmarks.load import Load

_FIRST_CALLS = 4  # per caller, to estimate the rate and to warm up the server
_LEAST_CALLS = 4  # per caller in a run

Row = dict[str, list[float]]


@dataclass(frozen=True)
class Case:
    """A request, and how many are in flight on how many connections."""

    title: str
    request: bytes
    images: int
    callers: int
    connections: int


class Subject:
    """A running server; a context manager, which stops it."""

    def __init__(
        self,
        *options: str,
        cores: Sequence[int],
        log: Path | None = None,
        server: FrontProcess | None = None,
    ) -> None:
        """Prepare ``cifar10net serve`` with options, or another server, to run on some cores."""
        self._server = server or ServerProcess(*options, log=log)
        self._cores = cores
        self._targets: dict[str, Target] = {}
        self._rates: dict[str, float] = {}
        self.start_s = 0.0

    def __enter__(self) -> Self:
        began = time.perf_counter()
        with machine.on_cores(self._cores):
            self._server.start()
        self.start_s = time.perf_counter() - began
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.__exit__(*exception)

    def target(self, case: Case) -> Target:
        """Return the request with its expected answer, asking the server on first use."""
        if case.title not in self._targets:
            answer = h2load.ask(self._server.address, case.request)
            self._targets[case.title] = Target(self._server.address, case.request, answer, case.connections)
        return self._targets[case.title]

    def spend(self, images: int, run: Callable[[], Load]) -> tuple[Load, dict[str, float]]:
        """Run a load of calls with ``images`` images each; return it with the server's figures."""
        pids = machine.family(self._server.pid)
        began, stolen_s, cpu_s = time.perf_counter(), self._stolen_s(), machine.cpu_s(pids)
        load = run()
        cpu_s = machine.cpu_s(pids) - cpu_s
        # Steal time affects the rate: keep both together.
        stolen = (self._stolen_s() - stolen_s) / (time.perf_counter() - began) / len(self._cores)
        return load, {
            "images_per_s": load.rate * images,
            "cpu_us_an_image": cpu_s / (load.calls + sum(load.failures.values())) / images * 1e6,
            "p50_ms": load.p50_ms,
            "p99_ms": load.p99_ms,
            "p999_ms": load.p999_ms,
            "late_p99_ms": load.late_p99_ms,
            "core_share": cpu_s / load.seconds / len(self._cores),
            "stolen_share": stolen,
            "failures": sum(load.failures.values()),
        }

    def unary(
        self, case: Case, seconds: float, own: ProcessPoolExecutor, prefix: Sequence[str] = ()
    ) -> tuple[Load, dict[str, float]]:
        """Load the server for about ``seconds`` with h2load, or with our own generator if that is missing."""
        target = self.target(case)
        if not h2load.is_installed():
            return self.spend(
                case.images, own.submit(generator.closed_loop, target, case.callers, seconds).result
            )
        if case.title not in self._rates:
            self._rates[case.title] = h2load.run(target, case.callers, _FIRST_CALLS * case.callers).rate
        calls = max(int(self._rates[case.title] * seconds), _LEAST_CALLS * case.callers)
        h2load.check_call(target)
        load, spent = self.spend(case.images, lambda: h2load.run(target, case.callers, calls, prefix=prefix))
        h2load.check_call(target)
        self._rates[case.title] = load.rate
        return load, spent

    def idle_share(self, seconds: float) -> float:
        """Return the share of a core that the idle server uses."""
        pids = machine.family(self._server.pid)
        before = machine.cpu_s(pids)
        time.sleep(seconds)
        return (machine.cpu_s(pids) - before) / seconds

    def resident_mb(self) -> list[float]:
        """Return the resident memory of each of the server's processes."""
        return [machine.resident_mb(pid) for pid in machine.family(self._server.pid)]

    def _stolen_s(self) -> float:
        return sum(machine.stolen_s(core) for core in self._cores)


def append(row: Row, values: dict[str, Any]) -> None:
    """Add one value to each column."""
    for name, value in values.items():
        row.setdefault(name, []).append(value)
