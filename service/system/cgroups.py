"""The control groups of this process and its memory limit, from ``/proc`` and ``/sys`` (Linux only)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class MemoryLimit:
    """How much memory this process may use."""

    limit_bytes: int
    source: str
    """The file that sets it, or ``the machine``."""


def cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process' control groups, from its own up to the root group.

    Some may not exist: in a container the process' group often is the root group, while /proc/self/cgroup
    has the host's name for it.

    Args:
        root: the folder with ``proc`` and ``sys``.
        controller: ``cpu`` or ``memory``; in version 1 each has a hierarchy of its own.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        top = root / "sys/fs/cgroup"
        if controller in controllers.split(","):
            top /= controller
        elif controllers:
            continue
        group = Path(path.lstrip("/"))
        yield from (top / each for each in (group, *group.parents))


def memory_limit(root: Path = Path("/")) -> MemoryLimit | None:
    """Return the lowest of the machine's memory and all limits of this process; None if neither is known."""
    found = list(_machine(root))
    for folder in cgroup_folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                limit = MemoryLimit(int((folder / name).read_text()), str(folder / name))
            except (OSError, ValueError):
                continue  # no such file, or "max": no limit
            found.append(limit)
    return min(found, key=lambda memory: memory.limit_bytes, default=None)


def _machine(root: Path) -> Iterator[MemoryLimit]:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        name, _, value = line.partition(":")
        if name == "MemTotal":
            yield MemoryLimit(int(value.removesuffix("kB")) << 10, "the machine")
