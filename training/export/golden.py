"""Golden answers: what a model says of a few made-up images, for a server to compare before it serves.

In: a predictor. Out: images that are drawn, never taken from a data set, each with the probabilities that the
predictor gave it. Knows nothing of files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.data.sources import IMAGE_SHAPE

if TYPE_CHECKING:
    import numpy.typing as npt

    from training.evaluation.metrics import Predictor

GOLDEN_IMAGES = 4
_DRAWN = 64
_SEED = 0


@dataclass(frozen=True)
class Golden:
    """Some images and the answers to them."""

    images: npt.NDArray[np.uint8]
    """(n, 32, 32, 3)."""
    probabilities: npt.NDArray[np.float32]
    """(n, classes)."""


def golden_answers(predict: Predictor) -> Golden:
    """Draw images and keep the few on which the model is most decided, of different classes if it can be.

    Where two classes are close, another processor's rounding could name the other one.
    """
    images = draw(_DRAWN)
    probabilities = predict(images)
    first, second = np.sort(probabilities, axis=1)[:, :-3:-1].T
    by_margin = np.argsort(second - first, kind="stable")
    _, places = np.unique(probabilities.argmax(axis=1)[by_margin], return_index=True)
    clearest = by_margin[np.sort(places)]  # of each class that is named at all
    chosen = [*clearest, *(index for index in by_margin if index not in clearest)][:GOLDEN_IMAGES]
    return Golden(images[chosen], probabilities[chosen])


def draw(n: int) -> npt.NDArray[np.uint8]:
    """Draw discs before backgrounds that run from colour to colour: uint8 (n, 32, 32, 3)."""
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
