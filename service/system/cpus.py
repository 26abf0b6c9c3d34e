"""Counts the usable CPUs, and divides them among worker processes, model sessions and decoder threads.

A plan never runs more model threads than there are CPUs, unless the user's own numbers do.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from service.runtime.providers import ON_DEVICE
from service.system.cgroups import cgroup_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORKER_CPUS = 4  # that one worker's Python can keep busy


@dataclass(frozen=True)
class Cpus:
    """How many CPUs this process may use."""

    count: int
    source: str
    """``affinity``, ``machine``, or the file that sets a quota."""


@dataclass(frozen=True, kw_only=True)
class CpuPlan:
    """How the CPUs are used."""

    cpus: Cpus
    workers: int
    """Processes."""
    instances: int
    """Sessions of each model in each worker."""
    threads: int
    """Threads of each session."""
    decode_threads: int
    """Threads in each worker that decode pictures."""

    @property
    def model_threads(self) -> int:
        """Threads that can run one model at the same time, in all workers together."""
        return self.workers * self.instances * self.threads

    @property
    def is_oversubscribed(self) -> bool:
        """Whether there can be more model threads than CPUs."""
        return self.model_threads > self.cpus.count

    def fields(self) -> dict[str, int | str]:
        """Return the fields of the log line at start-up."""
        numbers = {key: value for key, value in vars(self).items() if key != "cpus"}
        return {"cpus": self.cpus.count, "source": self.cpus.source, **numbers}


def plan(  # noqa: PLR0913 - one for each number of a plan
    cpus: Cpus,
    provider: str,
    *,
    workers: int | None = None,
    instances: int | None = None,
    threads: int | None = None,
    decode_threads: int | None = None,
) -> CpuPlan:
    """Choose the numbers that the user did not set, given those that are set.

    Numbers out of range are left for ServerConfig to refuse.
    """
    threads = 1 if threads is None else threads
    if workers is None:
        workers = _default_workers(cpus.count, provider, _share(cpus.count, threads * (instances or 1)))
    if instances is None:
        # A GPU runs one batch at a time; a second session would only use memory.
        instances = 1 if provider in ON_DEVICE else _share(cpus.count, threads * workers)
    if decode_threads is None:
        decode_threads = _share(cpus.count, workers)
    return CpuPlan(
        cpus=cpus, workers=workers, instances=instances, threads=threads, decode_threads=decode_threads
    )


def usable_cpus(root: Path = Path("/")) -> Cpus:
    """Count the CPUs that this process may use, by its affinity and the quotas of its control groups.

    A quota is rounded down: a process with more busy threads than that uses up its quota before the period
    ends, and is then throttled as a whole, including the thread that answers calls.

    Args:
        root: the folder with ``proc`` and ``sys``.
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
    """Yield the files that set a CPU quota for this process, and their quotas in CPUs."""
    for folder in cgroup_folders(root, "cpu"):
        for file, read in (("cpu.max", _read_v2), ("cpu.cfs_quota_us", _read_v1)):
            try:
                quota, period = read(folder / file)
            except (OSError, ValueError):
                continue  # no such file, or "max": no quota
            if quota > 0 and period > 0:  # v1 says -1 for none
                yield folder / file, quota / period


def _read_v2(file: Path) -> tuple[int, int]:
    quota, period = file.read_text().split()
    return int(quota), int(period)


def _read_v1(file: Path) -> tuple[int, int]:
    return int(file.read_text()), int(file.with_name("cpu.cfs_period_us").read_text())
