"""CPU time, memory and open files of this process; only CPU time on systems without ``/proc``."""

from __future__ import annotations

import os
import time
from pathlib import Path

from service.observability.metrics.snapshot import MetricValues, Snapshot
from service.observability.metrics.table import CPU, MEMORY, OPEN_FDS

_STATM = Path("/proc/self/statm")
_FDS = Path("/proc/self/fd")


def own_process() -> Snapshot:
    """Return a snapshot with the metrics of this process."""
    current = MetricValues()
    try:
        current.server[MEMORY.name] = int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        # The folder's size is the number of files since Linux 6.2; a long listing would block the event loop.
        current.server[OPEN_FDS.name] = _FDS.stat().st_size or len(os.listdir(_FDS))  # noqa: PTH208 - faster
    except OSError:
        pass
    return Snapshot(MetricValues({CPU.name: time.process_time_ns()}), current)
