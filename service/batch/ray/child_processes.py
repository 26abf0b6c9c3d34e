"""Processes that this one has started, and that they have ended.

In: process ids. Out: the ids below them; none of them alive. Knows nothing of what they do.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST_END_S = 20.0


def descendants(pid: int) -> tuple[int, ...]:
    """All processes below one, where there is /proc."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in children.read_text().split():
                found += (int(child), *descendants(int(child)))
    return tuple(found)


def await_end(pids: Iterable[int]) -> None:
    """Wait until processes of ours have ended; end those that take too long."""
    until_s = time.monotonic() + _LONGEST_END_S
    left = [pid for pid in pids if _is_alive(pid)]
    while left and time.monotonic() < until_s:
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
