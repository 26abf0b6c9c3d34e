"""What this process takes of the machine.

Where the system has no ``/proc``, memory and open files are not told.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from service.observability.metrics.snapshot import Numbers, Snapshot
from service.observability.metrics.table import CPU, MEMORY, OPEN_FDS

_STATM = Path("/proc/self/statm")
_FDS = Path("/proc/self/fd")


def own_process() -> Snapshot:
    """Return CPU time, memory and open files of this process."""
    living = Numbers()
    try:
        living.server[MEMORY.name] = int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        # The folder's size is their number since Linux 6.2; listing thousands would hold up the event loop.
        living.server[OPEN_FDS.name] = _FDS.stat().st_size or len(os.listdir(_FDS))  # noqa: PTH208 - faster
    except OSError:
        pass
    return Snapshot(Numbers({CPU.name: time.process_time_ns()}), living)
