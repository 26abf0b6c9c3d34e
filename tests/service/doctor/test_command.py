"""``cifar10net doctor`` with real servers and models, whole and broken, and on a client's installation."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from service.cli import cli
from service.runtime import model as model_module
from service.server.spawn import ServerProcess
from tests.service.doctor.findings import Report, run_doctor
from tests.service.installations import NOT_IN_A_CLIENT
from tests.service.int8_models import int8_manifest, int8_model
from tests.service.manifests import publish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def repository_of_ours(root: Path, tmp_path: Path) -> Path:
    """Copy the exported model, with its manifest."""
    shutil.copytree(root / "exported_models" / "cifar10net" / "1", tmp_path / "models" / "cifar10net" / "1")
    return tmp_path / "models"


def test_all_is_well_with_a_server_and_models_that_are(server: str, repository_of_ours: Path) -> None:
    found = run_doctor("--server", server, "--models", str(repository_of_ours), "--provider", "cpu")

    assert found.code == 0
    assert found.is_well
    assert found.value("server", "health") == f"{server}: SERVING"
    assert found.value("server", "colours 1") == "3 classes, CPUExecutionProvider, top-1 1.0"
    assert found.state("server", "shades 1") == "note"  # it lies in the repository and does not answer
    assert found.value("models", "cifar10net 1").startswith("verified: SHA-256 ")
    assert found.value("execution providers", "cpu") == (
        "usable: CPUExecutionProvider is active; adds int8 products exactly"
    )


def test_what_is_not_there_is_no_fault_unless_asked_for() -> None:
    plain = run_doctor()
    asked = run_doctor("--provider", "cuda")

    assert (plain.code, plain.state("execution providers", "cuda")) == (0, "absent")
    assert (asked.code, asked.state("execution providers", "cuda")) == (1, "bad")
    assert "install the extra gpu" in asked.advice("execution providers", "cuda")


def test_a_server_that_nobody_runs_is_bad() -> None:
    found = run_doctor("--server", "127.0.0.1:1", "--deadline-s", "0.2")

    assert found.code == 1
    assert found.value("server", "health") == "127.0.0.1:1: DEADLINE_EXCEEDED"
    assert "start it with cifar10net serve" in found.advice("server", "health")


def test_a_server_that_wants_a_key_is_bad_without_and_well_with_it(repository: Path, tmp_path: Path) -> None:
    keys, key = tmp_path / "keys.txt", tmp_path / "alice.key"
    key.write_text(CliRunner().invoke(cli, ["key", "alice", "--to", str(keys)]).stdout)
    with ServerProcess("--models", str(repository), "--api-keys", str(keys), log=tmp_path / "log") as server:
        without = run_doctor("--server", server.address)
        with_key = run_doctor("--server", server.address, "--api-key-file", str(key))

    assert (without.code, without.value("server", "models")) == (1, "UNAUTHENTICATED")
    assert with_key.code == 0


def _cut(model: Path) -> None:
    model.write_bytes(model.read_bytes()[:-1])


def _change_an_answer(model: Path) -> None:
    manifest = model.with_name("manifest.json")
    content = json.loads(manifest.read_text())
    golden = content["golden"][0]["probabilities"]
    content["golden"][0]["probabilities"] = golden[1:] + golden[:1]
    manifest.write_text(json.dumps(content))


def _rename_a_label(model: Path) -> None:
    manifest = model.with_name("manifest.json")
    manifest.write_text(manifest.read_text().replace('"ship"', '"boat"'))


@pytest.mark.parametrize(
    ("damage", "advice"),
    [
        (_cut, "manifest.json says"),
        (_change_an_answer, "classifies golden image 0"),
        (_rename_a_label, "has input, output and labels"),
    ],
)
def test_a_broken_model_is_bad_and_leaves_the_others_alone(
    damage: Callable[[Path], None], advice: str, repository_of_ours: Path
) -> None:
    shutil.copytree(repository_of_ours / "cifar10net" / "1", repository_of_ours / "cifar10net" / "2")
    damage(repository_of_ours / "cifar10net" / "2" / "model.onnx")

    found = run_doctor("--models", str(repository_of_ours))

    assert found.code == 1
    assert found.state("models", "cifar10net 1") == "ok"
    assert found.state("models", "cifar10net 2") == "bad"
    assert advice in found.advice("models", "cifar10net 2")


def test_a_model_without_a_manifest_is_noted(repository: Path) -> None:
    found = run_doctor("--models", str(repository))

    assert (found.code, found.state("models", "colours 1")) == (0, "note")
    assert "cifar10net-train manifest" in found.advice("models", "colours 1")


def test_a_repository_that_is_not_there_is_bad(tmp_path: Path) -> None:
    found = run_doctor("--models", str(tmp_path / "none"))

    assert found.code == 1
    assert "the folder does not exist" in found.advice("models", str(tmp_path / "none"))


def test_a_client_installation_is_checked_without_the_servers_packages(server: str) -> None:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({NOT_IN_A_CLIENT!r}))\n"
        "from importlib import metadata\n"
        f"hidden = {NOT_IN_A_CLIENT!r}\n"
        "whole = metadata.version\n"
        "def version(name):\n"
        "    if name.replace('-', '_').startswith(hidden): raise metadata.PackageNotFoundError(name)\n"
        "    return whole(name)\n"
        "metadata.version = version\n"
        f"sys.argv = ['cifar10net', 'doctor', '--server', {server!r}, '--json', *sys.argv[1:]]\n"
        "from service.cli import main; main()"
    )

    def run(*more: str) -> Report:
        done = subprocess.run(
            [sys.executable, "-c", code, *more], capture_output=True, text=True, check=False
        )
        assert done.stderr == ""
        return Report(done.returncode, json.loads(done.stdout))

    plain, asked = run(), run("--provider", "cpu", "--models", "exported_models")
    assert plain.code == 0
    assert plain.state("installed", "ONNX Runtime") == "absent"
    assert plain.value("execution providers", "cpu") == "ONNX Runtime is not installed"
    assert plain.value("server", "health") == f"{server}: SERVING"
    assert asked.code == 1
    assert asked.state("execution providers", "cpu") == "bad"
    assert "pip install 'cifar10net[cpu]'" in asked.advice("models", "exported_models")


def test_people_get_a_line_a_finding_and_what_to_do() -> None:
    done: Any = CliRunner().invoke(cli, ["doctor", "--provider", "tensorrt"])

    lines = done.stdout.splitlines()
    assert done.exit_code == 1
    assert lines[0] == "installed"
    assert any(line.split()[:2] == ["bad", "tensorrt"] for line in lines)
    assert any(line.strip().startswith("provider tensorrt needs TensorrtExecutionProvider") for line in lines)
    assert lines[-1] == "not well: tensorrt"


def test_saturating_sums_are_reported_for_the_provider_and_for_each_affected_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a provider that cannot be asked for exact sums, on a CPU without VNNI."""
    monkeypatch.setattr(model_module, "saturates", lambda _provider, **_how: True)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    right, wrong, portable = int8_model(), int8_model(), int8_model(64)
    publish(tmp_path, right, int8_manifest(right), "right")
    publish(tmp_path, wrong, int8_manifest(wrong, saturated=True), "wrong")
    publish(tmp_path, portable, int8_manifest(portable, 64), "portable")

    found = run_doctor("--models", str(tmp_path))

    assert found.value("execution providers", "cpu") == (
        "usable: CPUExecutionProvider is active; int8 models need 7-bit weights, because this CPU has no "
        "VNNI, or this ONNX Runtime does not use it"
    )
    assert found.state("models", "portable 1") == "ok"
    assert (found.code, found.state("models", "wrong 1")) == (1, "bad")
    assert found.state("models", "right 1") == "note"
    for name in ("right 1", "wrong 1"):
        assert "because this CPU has no VNNI" in found.advice("models", name)
        assert "cifar10net-train quantize" in found.advice("models", name)
