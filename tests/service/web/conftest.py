"""A real server, and a real page connected to it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from service.config import ImageLimits
from service.images.decode import from_encoded
from service.server.spawn import ServerProcess
from tests.service.web.pages import Page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

SERVED = ("cifar10net", "cifar10net_int8_openvino", "lenet")


@pytest.fixture(scope="session")
def models(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with some of the committed models."""
    folder = tmp_path_factory.mktemp("models")
    for name in SERVED:
        shutil.copytree(root / "exported_models" / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def answering(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a server, and return its address."""
    log = tmp_path_factory.mktemp("log") / "server.log"
    with ServerProcess("--models", str(models), "--workers", "1", log=log) as server:
        yield server.address


@pytest.fixture(scope="session")
def page(answering: str, models: Path, synthetic: Path) -> Iterator[Page]:
    """Run a page connected to the server, with a test set of 100 images per class."""
    arguments = ("--server", answering, "--models", str(models), "--data", str(synthetic))
    with Page(*arguments, "--max-burst", "10000") as running:
        yield running


@pytest.fixture(scope="session")
def dog(root: Path) -> bytes:
    return (root / "examples" / "images" / "dog.jpg").read_bytes()


@pytest.fixture(scope="session")
def dog_seen(dog: bytes) -> np.ndarray:
    """Return that picture as a network sees it: uint8 (32, 32, 3)."""
    return from_encoded(dog, ImageLimits())
