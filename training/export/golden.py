"""Golden answers: probabilities for a few synthetic images, which a server compares before it serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.data.cifar10 import IMAGE_SHAPE

if TYPE_CHECKING:
    import numpy.typing as npt

    from training.evaluation.metrics import Predictor

GOLDEN_IMAGES = 4
_DRAWN = 64
_SEED = 0


@dataclass(frozen=True)
class GoldenAnswers:
    """Images and the model's probabilities for them."""

    images: npt.NDArray[np.uint8]
    """(n, 32, 32, 3)."""
    probabilities: npt.NDArray[np.float32]
    """(n, classes)."""


def golden_answers(predict: Predictor) -> GoldenAnswers:
    """Draw images and keep those with the clearest predictions, of different classes if possible.

    Where two classes are close, rounding on another processor could swap them.
    """
    images = draw_images(_DRAWN)
    probabilities = predict(images)
    first, second = np.sort(probabilities, axis=1)[:, :-3:-1].T
    by_margin = np.argsort(second - first, kind="stable")
    _, places = np.unique(probabilities.argmax(axis=1)[by_margin], return_index=True)
    clearest = by_margin[np.sort(places)]  # for each predicted class
    chosen = [*clearest, *(index for index in by_margin if index not in clearest)][:GOLDEN_IMAGES]
    return GoldenAnswers(images[chosen], probabilities[chosen])


def draw_images(n: int) -> npt.NDArray[np.uint8]:
    """Draw discs on colour gradients: uint8 (n, 32, 32, 3)."""
    random = np.random.default_rng(_SEED)
    side = IMAGE_SHAPE[0]
    y, x = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side), indexing="ij")
    corners = np.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x], axis=-1)
    images = np.empty((n, *IMAGE_SHAPE), np.uint8)
    for image in images:
        picture = corners @ random.uniform(0, 255, (4, 3))
        centre_y, centre_x = random.uniform(0.3, 0.7, 2)
        is_disc = np.hypot(y - centre_y, x - centre_x) < random.uniform(0.1, 0.35)
        picture[is_disc] = random.uniform(0, 255, 3)
        image[:] = np.rint(picture)
    return images
