"""CPUs are counted within the system's limits, and never assigned twice."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.runtime.providers import PROVIDERS
from service.system.cpus import CpuPlan, Cpus, plan, usable_cpus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NESTED = "0::/system.slice/app.service"
V1 = "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n2:cpuset:/docker/x\n0::/docker/x"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that makes a machine of 16 CPUs with control groups."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: range(16))

    def make(groups: str | None, files: dict[str, str]) -> Path:
        if groups is not None:
            files = {**files, "proc/self/cgroup": groups}
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("groups", "files", "count", "source"),
    [
        # A container with a namespace of its own.
        ("0::/", {"cpu.max": "250000 100000"}, 2, "cpu.max"),
        ("0::/", {"cpu.max": "50000 100000"}, 1, "cpu.max"),
        ("0::/", {"cpu.max": "400000 100000"}, 4, "cpu.max"),
        # A service of the host: the tightest of all groups above it.
        (NESTED, {"system.slice/app.service/cpu.max": "300000 100000"}, 3, "app.service/cpu.max"),
        (
            NESTED,
            {"system.slice/app.service/cpu.max": "max 100000", "system.slice/cpu.max": "200000 100000"},
            2,
            "system.slice/cpu.max",
        ),
        (
            NESTED,
            {"system.slice/app.service/cpu.max": "200000 100000", "system.slice/cpu.max": "800000 100000"},
            2,
            "app.service/cpu.max",
        ),
        # A container that sees the host's name of its group, or a name outside its namespace.
        (NESTED, {"cpu.max": "200000 100000"}, 2, "cpu.max"),
        ("0::/../../other", {"cpu.max": "200000 100000"}, 2, "cpu.max"),
        # Version 1, in its own folder and as a container sees it.
        (
            V1,
            {"cpu/docker/x/cpu.cfs_quota_us": "150000", "cpu/docker/x/cpu.cfs_period_us": "50000"},
            3,
            "docker/x/cpu.cfs_quota_us",
        ),
        (V1, {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "50000"}, 3, "cpu/cpu.cfs_quota_us"),
    ],
)
def test_a_cpu_quota_counts_rounded_down(
    system: Callable[..., Path], groups: str, files: dict[str, str], count: int, source: str
) -> None:
    root = system(groups, {f"sys/fs/cgroup/{name}": text for name, text in files.items()})

    cpus = usable_cpus(root)

    assert cpus.count == count
    assert cpus.source.endswith(source)


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/", {}),
        ("0::/", {"cpu.max": "max 100000"}),
        ("0::/", {"cpu.max": "3200000 100000"}),
        ("0::/", {"cpu.max": "junk"}),
        ("0::/", {"cpu.max": "100000 0"}),
        ("0::/", {"cpu.max": ""}),
        (V1, {"cpu/docker/x/cpu.cfs_quota_us": "-1", "cpu/docker/x/cpu.cfs_period_us": "100000"}),
        (V1, {"cpu/docker/x/cpu.cfs_quota_us": "100000"}),
        (V1, {"memory/docker/x/cpu.max": "100000 100000"}),
        ("2:cpuset:/x", {"cpu/x/cpu.cfs_quota_us": "100000", "cpu/x/cpu.cfs_period_us": "100000"}),
        ("nonsense", {"cpu.max": "max"}),
        ("", {}),
        (None, {}),
    ],
)
def test_without_a_quota_the_affinity_counts(
    system: Callable[..., Path], groups: str | None, files: dict[str, str]
) -> None:
    root = system(groups, {f"sys/fs/cgroup/{name}": text for name, text in files.items()})

    assert usable_cpus(root) == Cpus(16, "affinity")


def test_this_machine_has_a_cpu() -> None:
    assert 1 <= usable_cpus().count <= (os.cpu_count() or 1)


def _numbers(made: CpuPlan) -> tuple[int, int, int, int]:
    return made.workers, made.instances, made.threads, made.decode_threads


@pytest.mark.parametrize(
    ("cpus", "provider", "settings", "numbers"),
    [
        (1, "cpu", {}, (1, 1, 1, 1)),
        (2, "cpu", {}, (1, 2, 1, 2)),
        (4, "openvino", {}, (1, 4, 1, 4)),
        (5, "cpu", {}, (2, 2, 1, 2)),
        (64, "cpu", {}, (16, 4, 1, 4)),
        (16, "cuda", {}, (1, 1, 1, 16)),
        (16, "tensorrt", {"workers": 2}, (2, 1, 1, 8)),
        (16, "cpu", {"threads": 4}, (4, 1, 4, 4)),
        (16, "cpu", {"threads": 16}, (1, 1, 16, 16)),
        (16, "cpu", {"workers": 1}, (1, 16, 1, 16)),
        (16, "cpu", {"instances": 8}, (2, 8, 1, 8)),
        (16, "cpu", {"workers": 2, "decode_threads": 3}, (2, 8, 1, 3)),
        (4, "cpu", {"workers": 8}, (8, 1, 1, 1)),
    ],
)
def test_a_plan_adapts_to_what_is_set(
    cpus: int, provider: str, settings: dict[str, int], numbers: tuple[int, ...]
) -> None:
    assert _numbers(plan(Cpus(cpus, "affinity"), provider, **settings)) == numbers


_setting = st.none() | st.integers(1, 64)


@given(
    st.integers(1, 512),
    st.sampled_from(sorted(PROVIDERS)),
    st.fixed_dictionaries({"workers": _setting, "instances": _setting, "threads": _setting}),
)
def test_only_numbers_that_were_set_can_oversubscribe(
    count: int, provider: str, settings: dict[str, int | None]
) -> None:
    made = plan(Cpus(count, "affinity"), provider, **settings)

    wanted = 1
    for name, value in settings.items():
        wanted *= value or 1
        assert getattr(made, name) == value or value is None
        assert getattr(made, name) >= 1
    assert made.is_oversubscribed == (wanted > count)
    assert made.decode_threads * made.workers <= max(count, made.workers)


def test_numbers_out_of_range_are_left_to_the_config() -> None:
    assert plan(Cpus(2, "affinity"), "cpu", workers=0, threads=-1).workers == 0


def test_the_log_has_the_whole_plan() -> None:
    assert plan(Cpus(8, "affinity"), "cpu").fields() == {
        "cpus": 8,
        "source": "affinity",
        "workers": 2,
        "instances": 4,
        "threads": 1,
        "decode_threads": 4,
    }
