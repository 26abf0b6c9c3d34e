"""The doctor reads packages, processors and control groups as they are."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import TYPE_CHECKING

import onnx
import pytest
from onnx import TensorProto, helper

from service.doctor import Finding, FindingState, installation, machine
from service.runtime.model import _TINY_MODEL
from service.system.cgroups import MemoryLimit, memory_limit

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MEMINFO = {"proc/meminfo": "MemTotal:       16384000 kB\nMemFree:  1 kB"}
V1 = "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n0::/docker/x"


def _root(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return folder


def _by_name(found: Iterable[Finding]) -> dict[str, Finding]:
    return {each.name: each for each in found}


@pytest.mark.parametrize(
    ("files", "limit_bytes", "source"),
    [
        (MEMINFO, 16_384_000 << 10, "the machine"),
        (
            {**MEMINFO, "proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": "max"},
            16_384_000 << 10,
            "machine",
        ),
        (
            {**MEMINFO, "proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": "1048576"},
            1 << 20,
            "memory.max",
        ),
        (
            {
                **MEMINFO,
                "proc/self/cgroup": "0::/a/b",
                "sys/fs/cgroup/a/b/memory.max": "max",
                "sys/fs/cgroup/a/memory.max": "2097152",
            },
            2 << 20,
            "a/memory.max",
        ),
        (
            {
                **MEMINFO,
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": "3145728",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            },
            3 << 20,
            "memory/docker/x/memory.limit_in_bytes",
        ),
    ],
)
def test_the_memory_is_the_least_of_all_limits(
    files: dict[str, str], limit_bytes: int, source: str, tmp_path: Path
) -> None:
    limit = memory_limit(_root(tmp_path, files))

    assert isinstance(limit, MemoryLimit)
    assert limit.limit_bytes == limit_bytes
    assert limit.source.endswith(source)


def test_nothing_says_how_much_memory_there_is(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) is None
    assert _by_name(machine("cpu", tmp_path))["memory"].state is FindingState.ABSENT


@pytest.mark.parametrize(
    ("architecture", "line", "has", "lacks"),
    [
        ("x86_64", "flags\t\t: fpu avx2 avx512f avx_vnni", {"AVX2", "AVX-512", "VNNI"}, {"AMX"}),
        ("x86_64", "flags\t\t: fpu sse4_2", set(), {"AVX2", "AVX-512", "VNNI", "AMX"}),
        (
            "aarch64",
            "Features\t: fp asimd asimddp i8mm",
            {"dot product", "int8 matrices"},
            {"SVE", "bfloat16"},
        ),
    ],
)
def test_the_processors_features_are_listed_by_name(
    architecture: str,
    line: str,
    has: set[str],
    lacks: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: architecture)

    found = _by_name(machine("cpu", _root(tmp_path, {"proc/cpuinfo": f"processor : 0\n{line}"})))

    assert {name for name in has | lacks if found[name].state is FindingState.OK} == has
    assert {found[name].value for name in lacks} == {"no"}


def test_a_machine_without_cpuinfo_is_unknown_and_no_fault(tmp_path: Path) -> None:
    assert _by_name(machine("cpu", tmp_path))["CPU features"].state is FindingState.ABSENT


def test_the_quota_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: range(16))
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    root = _root(
        tmp_path,
        {
            **MEMINFO,
            "proc/self/cgroup": "0::/",
            "sys/fs/cgroup/cpu.max": "200000 100000",
            "sys/fs/cgroup/memory.max": str(256 << 20),
        },
    )

    found = _by_name(machine("cpu", root))

    assert found["CPUs"].value == f"2 of 16, by {root}/sys/fs/cgroup/cpu.max"
    assert found["a server's default"].value.startswith("1 workers, 2 sessions")
    assert found["memory"].state is FindingState.NOTE
    assert found["memory"].value.startswith("256 MiB")


def test_extras_are_those_of_the_package_and_reported_complete_or_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = sys.modules["service.doctor.installation"]  # the package has a function of that name
    there = {"cifar10net": "1", "a": "1", "b": "2", "onnxruntime": "3", "onnxruntime-gpu": "4"}

    def version(name: str) -> str:
        if name not in there:
            raise metadata.PackageNotFoundError(name)
        return there[name]

    requirements = [
        "click>=8",
        "a>=1; extra == 'server'",
        "b; python_version > '3' and extra == \"ray\"",
        "c; extra == 'otel'",
    ]
    monkeypatch.setattr(module, "version", version)
    monkeypatch.setattr(module, "requires", lambda _: requirements)

    found = _by_name(installation())

    assert found["extra server"].value == "a 1"
    assert found["extra ray"].value == "b 2"
    assert (found["extra otel"].state, found["extra otel"].value) == (FindingState.ABSENT, "without c")
    assert found["ONNX Runtime"].state is FindingState.BAD  # two builds in one environment
    assert "overwrite each other" in found["ONNX Runtime"].advice


def test_the_tiny_model_is_what_it_is_said_to_be() -> None:
    node = helper.make_node("Add", ["x", "x"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([node], "tiny", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)

    assert model.SerializeToString() == _TINY_MODEL
