"""deploy/Dockerfile and what it copies: lint, the list of requirements, and what a build may see."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from deploy.images import build
from deploy.wheels import IMAGES

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
TARGETS = {"server", "client", "server-openvino", "train", "server-gpu"}


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


@pytest.mark.parametrize(
    "path", [DOCKERFILE, ROOT / "tests/containers/packaged/Dockerfile"], ids=lambda path: path.parent.name
)
def test_hadolint_finds_nothing(path: Path) -> None:
    done = subprocess.run(
        [_tool("hadolint"), "--no-color", str(path)], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.sh")), ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: Path) -> None:
    done = subprocess.run([_tool("shellcheck"), str(path)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")


def test_it_has_the_targets_that_make_and_compose_build() -> None:
    stages = set(re.findall(r"(?m)^FROM \S+ AS (\S+)$", DOCKERFILE.read_text()))
    wanted = re.search(r"(?m)^IMAGES \?= (.+)$", (ROOT / "Makefile").read_text())
    composed = re.findall(
        r"dockerfile: deploy/Dockerfile, target: ([\w-]+)", (ROOT / "docker-compose.yml").read_text()
    )

    assert stages >= TARGETS
    assert wanted
    assert set(wanted[1].split()) <= TARGETS
    assert {"server", "client", "server-gpu"} == set(composed)


def test_each_base_image_is_a_build_argument() -> None:
    text = DOCKERFILE.read_text()
    arguments = dict(re.findall(r"(?m)^ARG (\w+_IMAGE)=(\S+)$", text))
    stages = set(re.findall(r"(?m)^FROM \S+ AS (\S+)$", text))
    bases = set(re.findall(r"(?m)^FROM (\S+)", text)) - stages

    assert bases == {f"${{{name}}}" for name in arguments}
    assert all(re.search(r":.*\d", value) for value in arguments.values())


def test_what_pyproject_asks_for_is_what_an_image_gets() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    script = [sys.executable, "deploy/requirements.py", "cpu,otel"]

    lines = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()

    own = {line for name in ("server", "cpu", "otel") for line in extras[name]} - {"cifar10net[server]"}
    assert set(lines) == {"dumb-init", *project["dependencies"], *own}
    assert not any("torch" in line or "onnx>" in line for line in lines)


def test_an_extra_that_is_not_there_ends_the_build() -> None:
    script = [sys.executable, "deploy/requirements.py", "cpu,otl"]

    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr.startswith("no extra is called 'otl'; there are: ")


def test_a_build_sees_what_it_copies_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text())
    wanted = {name for line in copied for name in line.split()}

    assert lines[1] == "*"
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == wanted
    for name in wanted:
        assert (ROOT / name).exists(), name


def test_nothing_is_of_one_architecture() -> None:
    """So that it builds for linux/amd64 and linux/arm64 alike."""
    for path in (
        DOCKERFILE,
        DEPLOY / "install.sh",
        DEPLOY / "requirements.py",
        DEPLOY / "image-constraints.txt",
    ):
        assert not re.search(r"(?i)x86|amd64|arm64|aarch64|--platform", path.read_text()), path.name


def test_wheels_are_looked_for_as_the_images_install_them() -> None:
    extras = dict(re.findall(r"(?m)^ARG (\w+)_EXTRAS=(\S+)$", DOCKERFILE.read_text()))

    assert {name.upper(): ",".join(each) for name, each in IMAGES.items()} == extras


@pytest.mark.parametrize(
    ("platform", "tag"), [("", "latest"), ("linux/arm64", "latest-arm64"), ("linux/arm64/v8", "latest-arm64")]
)
def test_an_image_is_built_for_a_platform_under_a_name_of_its_own(
    tmp_path: Path, platform: str, tag: str
) -> None:
    engine = tmp_path / "engine"
    engine.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >>{tmp_path}/told\n")
    engine.chmod(0o755)

    image = build(str(engine), "client", [], platform)

    told = (tmp_path / "told").read_text().splitlines()
    assert f"--tag=cifar10net-client:{tag}" in told
    assert image.removeprefix("cifar10net-client:").endswith("-arm64" if platform else "0")
    assert [line for line in told if line.startswith("--platform")] == [f"--platform={platform}"] * bool(
        platform
    )
