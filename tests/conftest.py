"""Data sets, models and servers that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

ROOT = Path(__file__).parent.parent
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# A slow machine is no failure: hypothesis would allow each example 200 ms.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the repository's top folder."""
    return ROOT


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """Return the real data set; skip where CIFAR10NET_DATA does not name it."""
    path = os.environ.get("CIFAR10NET_DATA")
    if not path:
        pytest.skip("CIFAR10NET_DATA is not set: it names CIFAR-10 (see README, Training)")
    return Path(path)


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an image folder shaped like CIFAR-10: 30 training and 100 test images a class.

    Each class has a colour of its own under noise, so that a network learns it within seconds.
    """
    folder = tmp_path_factory.mktemp("synthetic")
    generator = np.random.default_rng(0)
    colours = generator.integers(40, 216, (len(CLASSES), 3))
    for split, count in (("train", 30), ("test", 100)):
        for label, colour in zip(CLASSES, colours, strict=True):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                noise = generator.integers(-40, 40, (32, 32, 3))
                pixels = (colour + noise).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{number:04}.png")
    return folder
