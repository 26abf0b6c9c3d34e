"""Makes glibc's malloc keep freed memory.

By default glibc returns large blocks to the kernel when they are freed. A training step allocates and frees
some dozens of them, so in each step the kernel would fill the same pages with zeros again.
"""

from __future__ import annotations

import ctypes
import sys

# From glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_MAX = -4
_NEVER = 2**31 - 1  # the largest number that mallopt(3) takes


def keep_freed_memory() -> bool:
    """Keep freed memory for later allocations, until the process ends.

    Returns:
        Whether the C library supports this: glibc does, others do nothing.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
