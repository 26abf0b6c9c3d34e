"""Has the C library give the memory of large blocks back as soon as they are free."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_LARGE_BYTES = 4 << 20
"""A picture's blocks have 16 MiB; those of a call of up to a thousand raw images stay below."""
_KEPT_BYTES = 64 << 20


def give_back_large_blocks() -> None:
    """Map large blocks each by itself, where the C library is glibc.

    Otherwise it learns to take them from pools of its own, one a thread, and a small block on top of such a
    pool keeps all of it: eight decoded pictures of 64 megapixels left 2 GiB behind in four threads, and with
    this 6 MiB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
