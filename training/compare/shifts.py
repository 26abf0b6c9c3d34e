"""Moved images: does a model say the same of a picture when what it shows lies a few pixels further?

In: a predictor, and images with labels. Out: for each distance, which answers stayed and which are right.
Each image is moved by that distance up, down, left and right, and the four are averaged. What comes in at
the border is a reflection, as in the training's augmentation: a black bar or a smear would be news to every
model, and what it says of those is not the question.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.evaluation.metrics import predict_all

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from training.data.dataset import Split
    from training.evaluation.metrics import Predictor

DISTANCES_PX = (1, 2, 3, 4)
DIRECTIONS = ((-1, 0), (1, 0), (0, -1), (0, 1))
"""(down, right): along the axes alone, since a diagonal step is longer."""
_SEED = 0


@dataclass(frozen=True)
class Rate:
    """A share of images, 0 to 1, and its standard error over the images."""

    mean: float
    standard_error: float

    @staticmethod
    def of(shares: npt.NDArray[np.float64]) -> Rate:
        """Average one share an image. Directions of one image are not independent; images are."""
        spread = shares.std(ddof=1) if len(shares) > 1 else math.nan
        return Rate(float(shares.mean()), float(spread / math.sqrt(len(shares))))


@dataclass(frozen=True)
class Moved:
    """What became of ``n`` images that were moved by one distance; a share of the directions each, (n,)."""

    distance_px: int
    is_right: npt.NDArray[np.float64]
    is_unchanged: npt.NDArray[np.float64]


def choose(split: Split, n: int) -> npt.NDArray[np.int64]:
    """Choose ``n`` images, the same ones for every model: indices, in order.

    Each class gets its share to within one image; all images are taken if there are no more than ``n``.
    """
    if n >= len(split):
        return np.arange(len(split))
    # Shuffled, then sorted by their rank within their class: every beginning is stratified.
    order = np.random.default_rng(_SEED).permutation(len(split))
    rank = np.empty(len(split))
    for label in np.unique(split.labels):
        members = order[split.labels[order] == label]
        rank[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(order[np.argsort(rank[order], kind="stable")][:n])


def shift(images: npt.NDArray[np.uint8], down_px: int, right_px: int) -> npt.NDArray[np.uint8]:
    """Move images uint8 (n, h, w, c); the border is filled by reflection."""
    _, height, width, _ = images.shape
    rows, columns = (abs(down_px),) * 2, (abs(right_px),) * 2
    padded = np.pad(images, ((0, 0), rows, columns, (0, 0)), mode="reflect")
    top, left = rows[0] - down_px, columns[0] - right_px
    return np.ascontiguousarray(padded[:, top : top + height, left : left + width])


def move(
    predict: Predictor, split: Split, on_images: Callable[[int], None] = lambda _: None
) -> tuple[Moved, ...]:
    """Ask a model about a split as it is (distance 0) and moved by each distance.

    Args:
        predict: the model.
        split: the images, with their labels.
        on_images: told how many more images were looked at.
    """
    still = _answers(predict, split.images)
    on_images(len(split))
    moved = [Moved(0, (still == split.labels).astype(np.float64), np.ones(len(split)))]
    for distance in DISTANCES_PX:
        is_right, is_unchanged = np.zeros((2, len(split)))
        for down, right in DIRECTIONS:
            answers = _answers(predict, shift(split.images, down * distance, right * distance))
            is_right += (answers == split.labels) / len(DIRECTIONS)
            is_unchanged += (answers == still) / len(DIRECTIONS)
            on_images(len(split))
        moved.append(Moved(distance, is_right, is_unchanged))
    return tuple(moved)


def _answers(predict: Predictor, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    answers: npt.NDArray[np.int64] = predict_all(predict, images).argmax(axis=1)
    return answers
