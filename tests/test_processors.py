"""Models answer alike on x86 processors that this machine may not be, by emulation (qemu-user).

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

QEMU = "qemu-x86_64"


@pytest.fixture(scope="module", params=["Haswell", "Nehalem"])
def told(request: pytest.FixtureRequest, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what a processor says of the committed models and of one that can saturate."""
    emulator = shutil.which(QEMU)
    if emulator is None or platform.machine() != "x86_64":
        pytest.skip(f"no {QEMU} here, which emulates other processors (Debian's package qemu-user)")
    saturating = tmp_path_factory.mktemp("saturating")
    content = int8_model()
    publish(saturating, content, int8_manifest(content), "pairs")
    publish(saturating, content, None, "unverified")
    command = [emulator, "-cpu", request.param, sys.executable, "-m", "tests.emulated"]
    done = subprocess.run(
        [*command, str(root / "exported_models"), str(saturating)],
        cwd=root,
        env=os.environ | {"ORT_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_committed_models_give_their_golden_answers(told: Any, root: Path) -> None:
    names = {path.parent.parent.name for path in (root / "exported_models").glob("*/*/model.onnx")}

    assert told["models"] == dict.fromkeys(names, "")
    assert told["older models"] == dict.fromkeys(names, "")  # whatever the runtime is asked for


def test_somebody_elses_8_bit_model_is_right_too(told: Any) -> None:
    assert told["exact"] == {"pairs": "", "unverified": ""}
    assert not told["saturates"]
    assert told["answer"] == pytest.approx(answers(BRIGHT)[0], abs=1e-5)


def test_where_sums_saturate_it_is_said_and_answers_that_are_wrong_are_refused(told: Any) -> None:
    """As by an ONNX Runtime before 1.30, or a provider that cannot be asked for exact sums."""
    if not told["older saturates"]:
        assert told["older"] == {"pairs": "", "unverified": ""}
        return  # it adds exactly by itself
    assert (
        "on the provider cpu, because this CPU has no VNNI, so its answers are worse"
        in (told["older"]["unverified"])
    )
    assert told["older"]["pairs"].startswith("pairs version 1 says of golden image 0")
    assert told["older"]["unverified"] in told["older"]["pairs"]
