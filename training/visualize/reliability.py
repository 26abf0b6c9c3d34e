"""How far answers can be trusted: calibration, and the mistakes made with most confidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

BINS = 15  # as Guo et al. have it


@dataclass(frozen=True)
class Calibration:
    """How often answers of some confidence are right (Guo et al. 2017, arXiv:1706.04599)."""

    edges: npt.NDArray[np.float64]
    """(bins + 1,), 0 to 1; a bin has its lower edge, the last one its upper too."""
    counts: npt.NDArray[np.int64]
    """(bins,): answers whose confidence lies there."""
    confidence: npt.NDArray[np.float64]
    """(bins,): their mean; NaN for an empty bin."""
    accuracy: npt.NDArray[np.float64]
    """(bins,): share of them that is right; NaN for an empty bin."""

    @property
    def expected_error(self) -> float:
        """Expected calibration error: mean gap between confidence and accuracy, weighted by answers."""
        filled = self.counts > 0
        gaps = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float((gaps * self.counts[filled]).sum() / self.counts.sum())

    @property
    def bias(self) -> float:
        """Mean confidence less accuracy: above zero, the model is too sure of itself."""
        filled = self.counts > 0
        gaps = self.confidence[filled] - self.accuracy[filled]
        return float((gaps * self.counts[filled]).sum() / self.counts.sum())


@dataclass(frozen=True)
class Mistake:
    """A wrong answer."""

    index: int
    label: int
    said: int
    probability: float
    """Of what was said."""
    probability_of_label: float


def calibration(
    probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], bins: int = BINS
) -> Calibration:
    """Sort answers by the probability (n, 10) of their first class into bins of equal width."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    is_right = probabilities.argmax(axis=1) == labels
    places = np.clip((confidence * bins).astype(np.int64), 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Calibration(
            edges=np.linspace(0, 1, bins + 1),
            counts=counts,
            confidence=np.bincount(places, confidence, bins) / counts,
            accuracy=np.bincount(places, is_right, bins) / counts,
        )


def confident_mistakes(
    probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], most: int
) -> list[Mistake]:
    """Return wrong answers, the most confident first, at most ``most``."""
    said = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(said != labels)
    order = wrong[np.argsort(-probabilities[wrong, said[wrong]], kind="stable")][:most]
    return [
        Mistake(
            index=int(index),
            label=int(labels[index]),
            said=int(said[index]),
            probability=float(probabilities[index, said[index]]),
            probability_of_label=float(probabilities[index, labels[index]]),
        )
        for index in order
    ]
