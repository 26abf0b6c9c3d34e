"""The limit of open files (``RLIMIT_NOFILE``)."""

from __future__ import annotations

import contextlib
import resource

_OTHER_FILES = 256  # that a process opens besides its connections


def raise_open_files_limit(connections: int) -> None:
    """Raise this process' soft limit to what its connections need, or to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS has another limit, which cannot be queried
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
