"""Models give the same answers on other processors, by emulation (qemu-user).

Haswell has AVX2 and no VNNI, as AMD's processors before Zen 4 and Intel's before Ice Lake; Nehalem has SSE4.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.service.int8_models import BRIGHT, answers, int8_manifest, int8_model
from tests.service.manifests import publish

if TYPE_CHECKING:
    from pathlib import Path

CPUS = ["Haswell", "Nehalem"]
QEMU = "qemu-x86_64"

pytestmark = pytest.mark.slow  # an emulated start takes most of a minute


def _run(module: str, *arguments: object, root: Path, cpu: str = "") -> Any:
    """Run a module of these tests, on an emulated processor if one is named; return the JSON it prints."""
    emulator = [] if not cpu else [QEMU, "-cpu", cpu]
    if cpu and (shutil.which(QEMU) is None or platform.machine() != "x86_64"):
        pytest.skip(f"no {QEMU} here, which emulates other processors (Debian's package qemu-user)")
    done = subprocess.run(
        [*emulator, sys.executable, "-m", f"tests.{module}", *map(str, arguments)],
        cwd=root,
        env=os.environ | {"ORT_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])  # before it, the server's log


@pytest.fixture(scope="module", params=CPUS)
def told(request: pytest.FixtureRequest, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a processor's results for the committed models and for one that can saturate."""
    saturating = tmp_path_factory.mktemp("saturating")
    content = int8_model()
    publish(saturating, content, int8_manifest(content), "pairs")
    publish(saturating, content, None, "unverified")
    return _run("emulated", root / "exported_models", saturating, root=root, cpu=request.param)


def test_committed_models_give_their_golden_answers(told: Any, root: Path) -> None:
    names = {path.parent.parent.name for path in (root / "exported_models").glob("*/*/model.onnx")}

    assert told["models"] == dict.fromkeys(names, "")
    assert told["older models"] == dict.fromkeys(names, "")  # whatever the runtime is asked for


def test_a_foreign_8_bit_model_is_right_too(told: Any) -> None:
    assert told["exact"] == {"pairs": "", "unverified": ""}
    assert not told["saturates"]
    assert told["answer"] == pytest.approx(answers(BRIGHT)[0], abs=1e-5)


def test_saturating_sums_are_reported_and_wrong_answers_refused(told: Any) -> None:
    """As by an ONNX Runtime before 1.30, or a provider that cannot be asked for exact sums."""
    if not told["older saturates"]:
        assert told["older"] == {"pairs": "", "unverified": ""}
        return  # it adds exactly by itself
    assert "on the provider cpu, because this CPU has no VNNI" in told["older"]["unverified"]
    assert "so its answers are worse: quantise it" in told["older"]["unverified"]
    assert told["older"]["pairs"].startswith("pairs version 1 classifies golden image 0")
    assert told["older"]["unverified"] in told["older"]["pairs"]


def test_a_whole_server_gives_the_same_three_classes_as_here(root: Path) -> None:
    """On the processor that has no VNNI; each committed model, each sample photograph."""
    samples = sorted(path for path in (root / "examples/images").iterdir() if path.suffix != ".md")
    arguments = (root / "exported_models", *samples)

    there = _run("emulated_server", *arguments, root=root, cpu=CPUS[0])
    here = _run("emulated_server", *arguments, root=root)

    assert there == here
    assert there["ending"] == {"GRACEFUL": []}
    assert set(there["cifar10net_int8"]) == {path.name for path in samples}


@pytest.mark.parametrize("cpu", CPUS)
def test_quantising_gives_the_same_bytes_and_golden_answers_as_here(root: Path, cpu: str) -> None:
    model = root / "exported_models/cifar10net/1/model.onnx"

    there = _run("emulated_quantize", model, root=root, cpu=cpu)
    here = _run("emulated_quantize", model, root=root)

    assert there == here
    assert len(here) == 9  # four ways for each of two forms, and the golden answers
