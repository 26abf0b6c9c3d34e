"""A server with every feature enabled, images, and the clients' own interpreters."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest
from PIL import Image

from cifar10net import Client
from service.images.decode import fit
from service.server.spawn import ServerProcess
from tests.service.colours import colour_model

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
ENVIRONMENTS = Path(os.environ.get("CIFAR10NET_CLIENTS") or Path(sys.prefix) / "clients")
"""Folder of the clients' environments, one each; ``make test-all`` makes them."""
PATIENCE_S = 240


class Script(Protocol):
    """Runs a script by a client's own interpreter."""

    def __call__(self, path: Path, *arguments: str) -> str:
        """Return what it prints; it must succeed."""


def interpreter_of(client: str) -> Script:
    """Find a client's interpreter; skip where it is not installed."""
    python = ENVIRONMENTS / client / "bin" / "python"
    if not python.exists():
        pytest.skip(
            f"the public client {client} is not installed in {ENVIRONMENTS}; `make test-all` installs it"
        )

    def run(path: Path, *arguments: str) -> str:
        done = subprocess.run(
            [python, path, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def triton() -> Script:
    return interpreter_of("triton")


@pytest.fixture(scope="session")
def kserve() -> Script:
    return interpreter_of("kserve")


@pytest.fixture(scope="package")
def server(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run two workers with the committed model and another, and everything allowed."""
    models = tmp_path_factory.mktemp("models")
    shutil.copytree(root / "exported_models" / "cifar10net", models / "cifar10net")
    (models / "colours" / "1").mkdir(parents=True)
    (models / "colours" / "1" / "model.onnx").write_bytes(colour_model())
    log = tmp_path_factory.mktemp("log") / "server.log"
    flags = ("--workers", "2", "--instances", "1", "--shared-memory", "--model-control")
    process = ServerProcess("--models", str(models), *flags, log=log)
    process.start()
    yield process.address
    assert process.stop() == 0
    assert "call failed" not in log.read_text()


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Make 20 images that are nothing: uint8 (20, 32, 32, 3)."""
    return np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def images_file(images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, images)
    return path


@pytest.fixture(scope="session")
def pictures(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder of photographs of 32x32 pixels, which no client has to resize in its own way."""
    folder = tmp_path_factory.mktemp("pictures")
    for path in sorted((root / "examples" / "images").iterdir()):
        if path.suffix != ".md":
            with Image.open(path) as picture:
                Image.fromarray(fit(picture)).save(folder / f"{path.stem}.png")
    return folder


@pytest.fixture(scope="package")
def own_rows(server: str, images: np.ndarray) -> np.ndarray:
    """Ask our own client: probabilities (20, 10) by class."""
    with Client(server) as client:
        labels = client.models()[0].labels
        results = client.classify(images, top_k=10)
    rows = np.empty((len(images), len(labels)), np.float32)
    for row, result in zip(rows, results, strict=True):
        for each in result.classes:
            row[labels.index(each.label)] = each.probability
    return rows


def answers_of(printed: str) -> dict[str, Any]:
    """Read the one line of JSON that a script prints."""
    answers: dict[str, Any] = json.loads(printed)
    return answers
