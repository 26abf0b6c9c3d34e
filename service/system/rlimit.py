"""Makes room for open files."""

from __future__ import annotations

import contextlib
import resource

_OTHER_FILES = 256  # that a process has open beside its connections


def make_room(connections: int) -> None:
    """Raise this process' limit of open files as far as the system allows and the connections need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS has a limit that it does not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
