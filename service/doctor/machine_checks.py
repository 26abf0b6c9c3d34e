"""CPU features that ONNX Runtime uses, and the CPUs and memory that the control groups allow.

Read from ``/proc`` and ``/sys``.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from service.doctor.finding import Finding, FindingState
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
"""By architecture, the features that ONNX Runtime uses, and their names in Linux."""
_MIB = 1 << 20
_LEAST_BYTES = 512 * _MIB  # a server under load takes 114 MB, and pictures being decoded more


def machine(provider: str, root: Path = Path("/")) -> Iterator[Finding]:
    """Check the machine.

    Args:
        provider: the execution provider that a server would use, which decides how it shares out the CPUs.
        root: the folder that has ``proc`` and ``sys``.
    """
    yield from _features(root)
    cpus = usable_cpus(root)
    shares = plan(cpus, provider)
    total = os.cpu_count() or cpus.count
    yield Finding(SECTION, "CPUs", value=f"{cpus.count} of {total}, by {cpus.source}")
    default = f"{shares.workers} workers, {shares.instances} sessions of {shares.threads} threads each"
    yield Finding(SECTION, "a server's default", value=default)
    yield _memory(root)


def _features(root: Path) -> Iterator[Finding]:
    wanted = _FEATURES.get(platform.machine(), {})
    flags = _flags(root)
    if flags is None or not wanted:
        advice = "they are read from /proc/cpuinfo, on Linux on x86_64 and aarch64"
        yield Finding(SECTION, "CPU features", FindingState.ABSENT, "unknown", advice)
        return
    for name, any_of in wanted.items():
        has = flags.intersection(any_of)
        yield Finding(SECTION, name, FindingState.OK if has else FindingState.ABSENT, "yes" if has else "no")


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
        return Finding(SECTION, "memory", FindingState.ABSENT, "unknown")
    value = f"{limit.limit_bytes / _MIB:,.0f} MiB, by {limit.source}"
    if limit.limit_bytes >= _LEAST_BYTES:
        return Finding(SECTION, "memory", value=value)
    advice = "lower --max-image-pixels, --max-pending-mib or --workers; or allow more memory"
    return Finding(SECTION, "memory", FindingState.NOTE, value, advice)
