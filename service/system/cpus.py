"""Says how many CPUs there are to use, and shares them out among workers, models and decoders.

In go the process' CPU affinity, the CPU quota of its control groups and what the user has set; out comes a
plan that, unless the user's own numbers exceed them, never runs more model threads than there are CPUs.
Knows nothing of how workers are started.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from service.runtime.providers import ON_DEVICE
from service.system.cgroups import control_groups

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORKER_CPUS = 4  # that one worker's Python can keep busy


@dataclass(frozen=True)
class Cpus:
    """How many CPUs this process may use, and what says so."""

    count: int
    source: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Who gets the CPUs."""

    cpus: Cpus
    workers: int
    """Processes."""
    instances: int
    """Sessions of each model, a worker."""
    threads: int
    """Of each session."""
    decode_threads: int
    """A worker."""

    @property
    def model_threads(self) -> int:
        """Threads that may run models at the same time, all workers together."""
        return self.workers * self.instances * self.threads

    @property
    def is_oversubscribed(self) -> bool:
        """Whether the models alone can want more CPUs than there are."""
        return self.model_threads > self.cpus.count

    def fields(self) -> dict[str, int | str]:
        """Return what the log says at start-up."""
        return {
            "cpus": self.cpus.count,
            "source": self.cpus.source,
            "workers": self.workers,
            "instances": self.instances,
            "threads": self.threads,
            "decode_threads": self.decode_threads,
        }


def plan(  # noqa: PLR0913 - one for each number of a plan
    cpus: Cpus,
    provider: str,
    *,
    workers: int | None = None,
    instances: int | None = None,
    threads: int | None = None,
    decode_threads: int | None = None,
) -> Plan:
    """Fill in what the user did not set, with regard to what was set.

    Numbers out of range are kept for ServerConfig to refuse.
    """
    threads = 1 if threads is None else threads
    if workers is None:
        workers = _default_workers(cpus.count, provider, _share(cpus.count, threads * (instances or 1)))
    if instances is None:
        # A GPU runs one batch at a time; a second session would only take its memory.
        instances = 1 if provider in ON_DEVICE else _share(cpus.count, threads * workers)
    if decode_threads is None:
        decode_threads = _share(cpus.count, workers)
    return Plan(
        cpus=cpus, workers=workers, instances=instances, threads=threads, decode_threads=decode_threads
    )


def usable_cpus(root: Path = Path("/")) -> Cpus:
    """Count the CPUs that this process may use.

    A quota is rounded down: a server with more threads at work than its quota has CPUs uses it up before the
    period ends, and is then stopped as a whole, the thread that answers included.

    Args:
        root: where ``proc`` and ``sys`` are looked for.
    """
    cpus = _allowed_cpus()
    for file, quota in _quotas(root):
        if quota < cpus.count:
            cpus = Cpus(max(1, int(quota)), str(file))
    return cpus


def _default_workers(cpus: int, provider: str, most: int) -> int:
    if provider in ON_DEVICE:
        return 1
    return min(-(-cpus // _WORKER_CPUS), most)


def _share(cpus: int, takers: int) -> int:
    return max(1, cpus // max(1, takers))


def _allowed_cpus() -> Cpus:
    if hasattr(os, "sched_getaffinity"):
        return Cpus(len(os.sched_getaffinity(0)), "affinity")
    return Cpus(os.cpu_count() or 1, "machine")


def _quotas(root: Path) -> Iterator[tuple[Path, float]]:
    """Yield every CPU quota over this process, in CPUs, with the file that sets it."""
    for folder in control_groups(root, "cpu"):
        for file, read in (("cpu.max", _read_v2), ("cpu.cfs_quota_us", _read_v1)):
            try:
                quota, period = read(folder / file)
            except (OSError, ValueError):
                continue  # no such file here, or "max": no quota
            if quota > 0 and period > 0:  # v1 says -1 for none
                yield folder / file, quota / period


def _read_v2(file: Path) -> tuple[int, int]:
    quota, period = file.read_text().split()
    return int(quota), int(period)


def _read_v1(file: Path) -> tuple[int, int]:
    return int(file.read_text()), int(file.with_name("cpu.cfs_period_us").read_text())
