"""Robustness to shifted images: does a prediction stay the same when the image moves by a few pixels?

Each image is shifted by each distance up, down, left and right, and the four results are averaged. The border
is filled by reflection, as in the augmentation of the training: a black bar or a smear would be new to every
model, and would measure something else.
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
"""(down, right): along the axes only, since a diagonal step is longer."""
_SEED = 0


@dataclass(frozen=True)
class Rate:
    """A share of images, 0 to 1, and its standard error over the images."""

    mean: float
    standard_error: float

    @staticmethod
    def of(shares: npt.NDArray[np.float64]) -> Rate:
        """Average one share per image; images are independent, the directions of one image are not."""
        spread = shares.std(ddof=1) if len(shares) > 1 else math.nan
        return Rate(float(shares.mean()), float(spread / math.sqrt(len(shares))))


@dataclass(frozen=True)
class ShiftedPredictions:
    """Predictions for ``n`` images at one distance; each array (n,) is the share of the four directions."""

    distance_px: int
    is_right: npt.NDArray[np.float64]
    is_unchanged: npt.NDArray[np.float64]


def stratified_sample(split: Split, n: int) -> npt.NDArray[np.int64]:
    """Choose ``n`` images by a fixed seed, and return their indices in order.

    Each class gets its share to within one image. A split with at most ``n`` images is taken whole.
    """
    if n >= len(split):
        return np.arange(len(split))
    # Shuffled, then sorted by rank within the class: every prefix is stratified.
    order = np.random.default_rng(_SEED).permutation(len(split))
    rank = np.empty(len(split))
    for label in np.unique(split.labels):
        members = order[split.labels[order] == label]
        rank[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(order[np.argsort(rank[order], kind="stable")][:n])


def shift(images: npt.NDArray[np.uint8], down_px: int, right_px: int) -> npt.NDArray[np.uint8]:
    """Shift images uint8 (n, h, w, c); the border is filled by reflection."""
    _, height, width, _ = images.shape
    down, right = abs(down_px), abs(right_px)
    padded = np.pad(images, ((0, 0), (down, down), (right, right), (0, 0)), mode="reflect")
    top, left = down - down_px, right - right_px
    return np.ascontiguousarray(padded[:, top : top + height, left : left + width])


def predict_shifted(
    predict: Predictor, split: Split, on_images: Callable[[int], None] = lambda _: None
) -> tuple[ShiftedPredictions, ...]:
    """Run a model on a split as it is (distance 0) and shifted by each distance.

    Args:
        predict: the model.
        split: images and labels.
        on_images: called with the number of further images processed.
    """
    original = _predicted_classes(predict, split.images)
    on_images(len(split))
    is_right = (original == split.labels).astype(np.float64)
    results = [ShiftedPredictions(0, is_right, np.ones(len(split)))]
    for distance in DISTANCES_PX:
        is_right, is_unchanged = np.zeros((2, len(split)))
        for down, right in DIRECTIONS:
            classes = _predicted_classes(predict, shift(split.images, down * distance, right * distance))
            is_right += (classes == split.labels) / len(DIRECTIONS)
            is_unchanged += (classes == original) / len(DIRECTIONS)
            on_images(len(split))
        results.append(ShiftedPredictions(distance, is_right, is_unchanged))
    return tuple(results)


def _predicted_classes(predict: Predictor, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    classes: npt.NDArray[np.int64] = predict_all(predict, images).argmax(axis=1)
    return classes
