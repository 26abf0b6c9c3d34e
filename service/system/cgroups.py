"""The control groups of this process, and the memory that they and the machine grant.

In: ``/proc`` and ``/sys``. Out: folders, and bytes with what says so. Linux only; elsewhere nothing is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Memory:
    """How much memory this process may use, and what says so."""

    limit_bytes: int
    source: str


def control_groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process' control groups that may limit it, up to the top ones.

    A container often sees its own group as the top one, under another name than /proc/self/cgroup has
    (``/``, or the host's). Folders that do not exist there are as good as skipped.

    Args:
        root: where ``proc`` and ``sys`` are looked for.
        controller: ``cpu`` or ``memory``; those of version 1 have folders of their own.
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


def memory_limit(root: Path = Path("/")) -> Memory | None:
    """Find the least of the machine's memory and all limits over this process; None where nothing says."""
    found = list(_machine(root))
    for folder in control_groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                limit = Memory(int((folder / name).read_text()), str(folder / name))
            except (OSError, ValueError):
                continue  # no such file here, or "max": no limit
            found.append(limit)
    return min(found, key=lambda memory: memory.limit_bytes, default=None)


def _machine(root: Path) -> Iterator[Memory]:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        name, _, value = line.partition(":")
        if name == "MemTotal":
            yield Memory(int(value.removesuffix("kB")) << 10, "the machine")
