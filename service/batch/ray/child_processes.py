"""Lists the descendants of a process, and waits for them to end."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST_WAIT_S = 20.0


def descendants(pid: int) -> tuple[int, ...]:
    """Return the children of a process and their descendants, where there is /proc."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in children.read_text().split():
                found += (int(child), *descendants(int(child)))
    return tuple(found)


def wait_or_kill(pids: Iterable[int]) -> None:
    """Wait until descendants have ended; kill those that take longer than 20 seconds."""
    deadline_s = time.monotonic() + _LONGEST_WAIT_S
    left = [pid for pid in pids if _is_alive(pid)]
    while left and time.monotonic() < deadline_s:
        time.sleep(0.02)
        left = [pid for pid in left if _is_alive(pid)]
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}
