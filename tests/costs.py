"""Measures the time of each test; one above five seconds needs a marker.

A cost is a phase's CPU time, its own and that of the children it has waited for, or its time by the clock
less the time in which anything on the machine waited for a CPU (Linux's pressure stall information): what it
takes on an idle machine, whatever runs beside it.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import pytest

LIMIT_S = 5.0
SHARED_LIMIT_S = 30.0
"""Of the setup, in which what several tests share is made, and PyTorch imported."""
EXEMPT = frozenset({"slow", "interop", "browser", "ray", "data", "container"})
"""Markers of what `make test` leaves to `make test-all`."""
COST = "cost_s"
"""Of a report's user properties."""
_LOOPS = 300_000
_LOOPS_S = 0.02
"""How long they take on the processor that the limits are meant for, an AMD EPYC of the Zen 3 family."""
_PRESSURE = Path("/proc/pressure/cpu")


@dataclass(frozen=True)
class Reading:
    """The clocks at one moment."""

    wall_s: float
    cpu_s: float
    waited_s: float | None
    """None where the kernel does not count it."""

    @classmethod
    def now(cls) -> Self:
        """Read the clocks."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = time.process_time() + children.ru_utime + children.ru_stime
        return cls(time.monotonic(), cpu_s, _waited_s())

    def cost_until(self, later: Reading) -> float:
        """Return what was spent between two readings, in seconds."""
        cpu_s = later.cpu_s - self.cpu_s
        if self.waited_s is None or later.waited_s is None:
            return cpu_s
        return max(cpu_s, later.wall_s - self.wall_s - (later.waited_s - self.waited_s))


def complaint(report: pytest.TestReport, cost_s: float, markers: frozenset[str]) -> str:
    """Return a complaint about a test that passed and took too long; empty if there is none.

    The end of a test is left out: there the whole life of a server counts that several tests have shared.
    """
    limit_s = slowness() * (SHARED_LIMIT_S if report.when == "setup" else LIMIT_S)
    if report.when == "teardown" or not report.passed or cost_s <= limit_s or markers & EXEMPT:
        return ""
    return (
        f"the {report.when} of {report.nodeid} took {cost_s:.1f} s on an idle machine, wanted at most "
        f"{limit_s:.0f}: make it faster, or mark it as slow (CONTRIBUTING.md says when)"
    )


@cache
def slowness() -> float:
    """Return how many times as long as usual this processor takes, at least 1; an emulated one takes ten."""
    return max(1.0, min(_loops_s() for _ in range(5)) / _LOOPS_S)


def _loops_s() -> float:
    began, total = time.process_time(), 0
    for number in range(_LOOPS):
        total += number * number % 7
    return time.process_time() - began


def _waited_s() -> float | None:
    try:
        some = _PRESSURE.read_text().splitlines()[0]
        return int(some.rpartition("total=")[2]) / 1e6
    except (OSError, ValueError, IndexError):
        return None
