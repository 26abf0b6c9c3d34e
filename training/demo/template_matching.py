"""Template matching: a filter cut from an image runs over it and responds most where the image looks alike.

Images are float (h, w), grey values 0 to 1. *Plain correlation*, which a convolution computes,
multiplies and adds, so bright windows score high whatever they show. *Normalised correlation* subtracts the
mean from filter and window and divides by both standard deviations (Lewis 1995,
http://scribblethink.org/Work/nvisionInterface/nip.html): 1 is the same pattern at any brightness and
contrast, 0 is no similarity, -1 the negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.errors import TrainingError

if TYPE_CHECKING:
    import numpy.typing as npt

    Map = npt.NDArray[np.float64]

_FLAT = 1e-6
"""Standard deviation below which a window counts as flat: far below one of 255 grey levels."""
SMALLEST_BOX_PX = 2


@dataclass(frozen=True)
class Box:
    """A rectangle in an image, in pixels; (x, y) is its upper left corner."""

    x: int
    y: int
    width: int
    height: int

    def check(self, width: int, height: int) -> None:
        """Raise TrainingError if the box is too small or does not fit into an image of this size."""
        if min(self.width, self.height) < SMALLEST_BOX_PX:
            raise TrainingError(
                f"the box is {self.width}x{self.height} pixels, "
                f"wanted {SMALLEST_BOX_PX}x{SMALLEST_BOX_PX} or more"
            )
        right, bottom = self.x + self.width, self.y + self.height
        if min(self.x, self.y) < 0 or right > width or bottom > height:
            raise TrainingError(
                f"the box reaches from x {self.x} to {right} and from y {self.y} to {bottom}, outside of the "
                f"picture, which has {width}x{height} pixels"
            )

    def cut(self, picture: Map) -> Map:
        """Return a copy of the pixels inside. Raises TrainingError as ``check`` does."""
        height, width = picture.shape
        self.check(width, height)
        return picture[self.y : self.y + self.height, self.x : self.x + self.width].copy()


@dataclass(frozen=True)
class Peak:
    """The upper left corner of a window, and its score."""

    x: int
    y: int
    value: float


def correlate(picture: Map, weights: Map) -> Map:
    """Multiply each window of an image by a filter, pixel by pixel, and add up.

    Args:
        picture: (h, w).
        weights: (kh, kw), no larger than the picture.

    Returns:
        (h - kh + 1, w - kw + 1): the value at (y, x) belongs to the window whose upper left corner is there.
    """
    rows, columns = (of - size + 1 for of, size in zip(picture.shape, weights.shape, strict=True))
    total = np.zeros((rows, columns))
    # Each weight is applied to all windows at once.
    for y, row in enumerate(weights):
        for x, weight in enumerate(row):
            total += weight * picture[y : y + rows, x : x + columns]
    return total


def correlate_normalised(picture: Map, weights: Map) -> Map:
    """Compute the correlation coefficient of each window with a filter.

    With n pixels, filter f and window x: sum((f - mean f) (x - mean x)) / (n std(f) std(x)). A window without
    contrast scores 0. Shapes as for ``correlate``.

    Raises:
        TrainingError: the filter has no contrast.
    """
    if weights.std() < _FLAT:
        raise TrainingError("the box holds one grey value only, which matches anywhere: choose another one")
    picture = picture - picture.mean()  # no effect on the result, but avoids cancellation below
    mean, squares = _window_means(picture, weights.shape), _window_means(picture**2, weights.shape)
    deviation = np.sqrt(np.maximum(squares - mean**2, 0))
    # The window's mean cancels, because the centred filter sums to zero.
    covariance = correlate(picture, (weights - weights.mean()) / weights.size)
    scores: Map = np.zeros_like(covariance)
    np.divide(covariance, weights.std() * deviation, out=scores, where=deviation > _FLAT)
    return scores


def _window_means(picture: Map, shape: tuple[int, ...]) -> Map:
    """Average each window as a separable filter: first down, then across."""
    height, width = shape
    down = correlate(picture, np.full((height, 1), 1 / height))
    return correlate(down, np.full((1, width), 1 / width))


def find_peaks(scores: Map, size: tuple[int, int], count: int) -> list[Peak]:
    """Find the highest scores, none closer to a higher one than half the filter's size (height, width)."""
    left = scores.copy()
    found: list[Peak] = []
    while len(found) < count and np.isfinite(left).any():
        y, x = (int(place) for place in np.unravel_index(np.nanargmax(left), left.shape))
        found.append(Peak(x, y, float(scores[y, x])))
        half = [max(1, side // 2) for side in size]
        left[max(0, y - half[0]) : y + half[0] + 1, max(0, x - half[1]) : x + half[1] + 1] = np.nan
    return found
