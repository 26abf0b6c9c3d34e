"""Pictures for a real model of three colours, and an engine that runs it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from service.batch.engines.local_engine import LocalEngine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """Return a function that makes a PNG file of noise in which one colour is strongest."""

    def make(colour: str, seed: int = 0) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 100, (32, 32, 3), dtype=np.uint8)
        pixels[..., ("red", "green", "blue").index(colour)] += 100
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()

    return make


@pytest.fixture
def album(tmp_path: Path, picture: Callable[..., bytes]) -> Path:
    """Make a folder of pictures with a subfolder for each colour, and other files among them."""
    folder = tmp_path / "album"
    for colour in ("red", "green", "blue"):
        (folder / colour).mkdir(parents=True)
        for number in range(3):
            (folder / colour / f"{number}.png").write_bytes(picture(colour, number))
    (folder / "notes.md").write_text("no picture")
    (folder / "red" / ".hidden.png").write_bytes(b"")
    (folder / "blue" / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    return folder


@pytest.fixture(scope="session")
def model(repository: Path) -> Path:
    """Return the folder of the model of three colours."""
    return repository / "colours"


@pytest.fixture(scope="session")
def engine(model: Path) -> LocalEngine:
    """Return an engine of one thread."""
    return LocalEngine(str(model), "", threads=1)
