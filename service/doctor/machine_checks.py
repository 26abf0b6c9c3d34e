"""What the machine has: instructions that make networks fast, and the CPUs and memory that are granted.

In: ``/proc`` and ``/sys``. Out: findings.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from service.doctor.finding import Finding, State
from service.system.cgroups import memory_limit
from service.system.cpus import plan, usable_cpus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SECTION = "machine"
_FEATURES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "x86_64": {
        "AVX2": ("avx2",),
        "AVX-512": ("avx512f",),
        "VNNI": ("avx512_vnni", "avx_vnni"),
        "AMX": ("amx_int8", "amx_bf16"),
    },
    "aarch64": {
        "dot product": ("asimddp",),
        "int8 matrices": ("i8mm",),
        "SVE": ("sve",),
        "bfloat16": ("bf16",),
    },
}
"""By architecture, what ONNX Runtime makes use of, and the names that Linux has for it."""
_MIB = 1 << 20
_LEAST_BYTES = 512 * _MIB  # a server under load has 114 MB, beside pictures that are decoded


def machine(provider: str, root: Path = Path("/")) -> Iterator[Finding]:
    """Look at the machine.

    Args:
        provider: that a server would use, for how it would share the CPUs out.
        root: where ``proc`` and ``sys`` are looked for.
    """
    yield from _features(root)
    cpus = usable_cpus(root)
    shares = plan(cpus, provider)
    of = os.cpu_count() or cpus.count
    yield Finding(section=SECTION, name="CPUs", value=f"{cpus.count} of {of}, by {cpus.source}")
    yield Finding(
        section=SECTION,
        name="a server's default",
        value=f"{shares.workers} workers, {shares.instances} sessions of {shares.threads} threads each",
    )
    yield _memory(root)


def _features(root: Path) -> Iterator[Finding]:
    wanted = _FEATURES.get(platform.machine(), {})
    flags = _flags(root)
    if flags is None or not wanted:
        yield Finding(
            section=SECTION,
            name="CPU features",
            state=State.ABSENT,
            value="unknown",
            advice="they are read from /proc/cpuinfo of Linux on x86_64 and aarch64 alone",
        )
        return
    for name, any_of in wanted.items():
        has = flags.intersection(any_of)
        yield Finding(
            section=SECTION,
            name=name,
            state=State.OK if has else State.ABSENT,
            value="yes" if has else "no",
        )


def _flags(root: Path) -> set[str] | None:
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        title, _, flags = line.partition(":")
        if title.strip() in {"flags", "Features"}:
            return set(flags.split())
    return None


def _memory(root: Path) -> Finding:
    limit = memory_limit(root)
    if limit is None:
        return Finding(section=SECTION, name="memory", state=State.ABSENT, value="unknown")
    value = f"{limit.limit_bytes / _MIB:,.0f} MiB, by {limit.source}"
    if limit.limit_bytes >= _LEAST_BYTES:
        return Finding(section=SECTION, name="memory", value=value)
    return Finding(
        section=SECTION,
        name="memory",
        state=State.NOTE,
        value=value,
        advice="serve with less: --max-image-pixels, --max-pending-mib, --workers 1; or grant more",
    )
