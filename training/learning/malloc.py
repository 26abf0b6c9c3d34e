"""Memory that a process has used stays its own.

By default glibc gives large blocks back to the kernel when they are freed, and a step of training takes and
frees some dozens: the kernel fills the same pages with zeros again, step by step. Knows nothing of PyTorch.
"""

from __future__ import annotations

import ctypes
import sys

# Of glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_MAX = -4
_NEVER = 2**31 - 1  # the largest number that mallopt(3) takes


def keep_freed_memory() -> bool:
    """Keep what is freed for the next allocation, until the process ends.

    Returns:
        Whether this C library can be told so: glibc can, others are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
