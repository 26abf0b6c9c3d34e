"""How far predictions can be trusted: calibration, and the most confident mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

BINS = 15  # as in Guo et al.


@dataclass(frozen=True)
class ReliabilityBins:
    """Accuracy of predictions by their confidence (Guo et al. 2017, arXiv:1706.04599)."""

    edges: npt.NDArray[np.float64]
    """(bins + 1,), 0 to 1; a bin includes its lower edge, the last one both."""
    counts: npt.NDArray[np.int64]
    """(bins,): predictions whose confidence lies in the bin."""
    confidence: npt.NDArray[np.float64]
    """(bins,): their mean confidence; NaN for an empty bin."""
    accuracy: npt.NDArray[np.float64]
    """(bins,): share of them that is correct; NaN for an empty bin."""

    @property
    def expected_error(self) -> float:
        """Expected calibration error: mean gap between confidence and accuracy, weighted by count."""
        return float(np.nansum(np.abs(self.confidence - self.accuracy) * self.counts) / self.counts.sum())

    @property
    def bias(self) -> float:
        """Mean confidence minus accuracy: above zero, the model is overconfident."""
        return float(np.nansum((self.confidence - self.accuracy) * self.counts) / self.counts.sum())


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction."""

    index: int
    label: int
    said: int
    probability: float
    """Of the predicted class, ``said``."""
    probability_of_label: float


def calibration(
    probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], bins: int = BINS
) -> ReliabilityBins:
    """Sort predictions (n, 10) into bins of equal width by the probability of their top class."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    is_right = probabilities.argmax(axis=1) == labels
    places = np.clip((confidence * bins).astype(np.int64), 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    with np.errstate(invalid="ignore"):
        return ReliabilityBins(
            edges=np.linspace(0, 1, bins + 1),
            counts=counts,
            confidence=np.bincount(places, confidence, bins) / counts,
            accuracy=np.bincount(places, is_right, bins) / counts,
        )


def confident_mistakes(
    probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], most: int
) -> list[Mistake]:
    """Return at most ``most`` wrong predictions, the most confident first."""
    said = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(said != labels)
    order = wrong[np.argsort(-probabilities[wrong, said[wrong]], kind="stable")][:most]
    return [
        Mistake(
            index, int(labels[index]), int(said[index]), float(row[said[index]]), float(row[labels[index]])
        )
        for index, row in zip(order.tolist(), probabilities[order], strict=True)
    ]
