"""ONNX Runtime alone on one core: an upper bound for any server of the same model."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from service.runtime.model import ModelFile, OnnxModel
from service.runtime.providers import ProviderConfig

if TYPE_CHECKING:
    import numpy.typing as npt

MODELS = Path(__file__).parent.parent / "exported_models"


class Ceiling(NamedTuple):
    """Speed of one process with one thread."""

    images_per_s: float
    cpu_us_an_image: float
    core_share: float
    """Share of the core that it got; below 1, other processes ran on it."""


def measure(batch: int, seconds: float) -> Ceiling:
    """Run batches of one size one after another in this process, on one thread."""
    model, images = _model(), random_images(batch)
    model.run(images)
    runs, cpu_s, began = 0, time.process_time(), time.perf_counter()
    while time.perf_counter() - began < seconds:
        model.run(images)
        runs += 1
    n, took_s, cpu_s = runs * batch, time.perf_counter() - began, time.process_time() - cpu_s
    return Ceiling(n / took_s, cpu_s / n * 1e6, cpu_s / took_s)


def random_images(n: int) -> npt.NDArray[np.uint8]:
    """Return random images, the same ones each time: uint8 (n, 32, 32, 3)."""
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


@cache
def _model() -> OnnxModel:
    path = MODELS / "cifar10net" / "1" / "model.onnx"
    model = OnnxModel(ModelFile(path, "cifar10net", 1, path.read_bytes()), ProviderConfig(), threads=1)
    model.warm_up(64)
    return model
