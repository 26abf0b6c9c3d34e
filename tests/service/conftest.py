"""A small real model, and real servers that answer with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from service.process import ServerProcess
from tests.service.colours import colour_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def add_model() -> Callable[..., Path]:
    """Return a function that puts a model into a repository folder."""

    def add(root: Path, name: str = "colours", version: str = "1", content: bytes | None = None) -> Path:
        path = root / name / version / "model.onnx"
        path.parent.mkdir(parents=True)
        path.write_bytes(colour_model() if content is None else content)
        return path

    return add


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory, add_model: Callable[..., Path]) -> Path:
    root = tmp_path_factory.mktemp("repository")
    add_model(root)
    add_model(root, "shades", "1")
    add_model(root, "shades", "3")
    return root


@pytest.fixture(scope="session")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a real server process for the session and return its address."""
    log = tmp_path_factory.mktemp("log") / "server.log"
    limits = ("--max-image-bytes", "100000", "--max-image-pixels", "1000000", "--min-ping-interval-s", "0")
    process = ServerProcess("--models", str(repository), "--threads", "1", *limits, log=log)
    process.start()
    yield process.address
    assert process.stop() == 0
    assert "call failed" not in log.read_text()


@pytest.fixture
def coloured() -> np.ndarray:
    """Return 90 images, in turn mostly red, green and blue, no two alike: uint8 (90, 32, 32, 3)."""
    images = np.random.default_rng(0).integers(0, 100, (90, 32, 32, 3), dtype=np.uint8)
    for channel in range(3):
        images[channel::3, ..., channel] += 100
    return images
