"""Facts from the kernel about processes and the machine: cores, CPU time, memory, names. Linux only."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PACKAGES = ("cifar10net", "grpcio", "hpack", "numpy", "onnxruntime", "onnxruntime-openvino", "uvloop")
_BYTES_PER_KB = 1024  # in /proc
_STOLEN = 8  # column of /proc/stat
_SCHEDULED_CLOCK = 2  # CPUCLOCK_SCHED of the kernel's posix-timers.h


@contextmanager
def on_cores(cores: Iterable[int]) -> Iterator[None]:
    """Pin this thread, and every process it starts meanwhile, to these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(cores))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def worker_on(core: int) -> ProcessPoolExecutor:
    """Make an executor of one process, pinned to one core."""
    return ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=os.sched_setaffinity, initargs=(0, {core})
    )


def family(pid: int) -> list[int]:
    """Return the ids of a process and its descendants."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return [pid, *(one for child in children for one in family(child))]


def cpu_s(pids: Iterable[int]) -> float:
    """Return the user and system time that these processes have used, to the nanosecond.

    By the clock ids of clock_getcpuclockid(3).
    """
    return sum(time.clock_gettime(~pid << 3 | _SCHEDULED_CLOCK) for pid in pids)


def stolen_s(core: int) -> float:
    """Return the time that the hypervisor took from this core while it had work (steal time)."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            return int(line.split()[_STOLEN]) / os.sysconf("SC_CLK_TCK")
    raise ProcessLookupError(core)


def resident_mb(pid: int) -> float:
    """Return the resident memory of one process, in 10^6 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * _BYTES_PER_KB / 1e6
    raise ProcessLookupError(pid)


def gpu() -> str:
    """Return name and driver of the NVIDIA GPUs, a line each; empty if there is none."""
    if (tool := shutil.which("nvidia-smi")) is None:
        return ""
    command = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603


def facts() -> dict[str, Any]:
    """Describe the machine, the time and the software, for a file of results."""
    return {
        "machine": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": f"{platform.system()} {platform.release()}",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "versions": {name: number for name in _PACKAGES if (number := _version(name))},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
