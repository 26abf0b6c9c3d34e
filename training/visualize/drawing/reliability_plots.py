"""Confusion matrix, reliability diagram, and a sheet of mistakes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from training.data.cifar10 import CLASS_NAMES, IMAGE_SHAPE
from training.plotting import GREY, PALETTE, picture
from training.visualize.drawing.tiles import MARGIN_IN, TITLE_IN, canvas

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from training.evaluation.metrics import Evaluation
    from training.visualize.reliability import Mistake, ReliabilityBins

_DARK_BELOW = 0.55  # of the colour map, where text is white
_COLUMNS = 6
_MISTAKE_IN = 1.5
_TEXT_IN = 0.55


def confusion_matrix(path: Path, title: str, result: Evaluation) -> None:
    """Draw how many images of each class were predicted as which class."""
    totals = result.confusion.sum(axis=1, keepdims=True)
    shares = result.confusion / np.maximum(totals, 1)
    with picture(path, 8.2, 7.2) as drawn:
        axes = drawn.subplots()
        image = axes.imshow(shares, vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(result.confusion):
            if count:
                colour = "white" if shares[row, column] < _DARK_BELOW else "black"
                axes.text(column, row, str(count), ha="center", va="center", fontsize=9, color=colour)
        axes.set_xticks(range(len(CLASS_NAMES)), CLASS_NAMES, rotation=45, ha="right")
        axes.set_yticks(
            range(len(CLASS_NAMES)),
            [
                name if math.isnan(share) else f"{name}  {share:.0%}"
                for name, share in zip(CLASS_NAMES, result.per_class, strict=True)
            ],
        )
        axes.tick_params(length=0)
        axes.spines[:].set_visible(b=False)
        axes.set(xlabel="prediction", ylabel="label, and the share predicted correctly")
        axes.set_title(title)
        drawn.colorbar(image, ax=axes, shrink=0.8, label="share of the images of a class")


def reliability_diagram(path: Path, title: str, measured: ReliabilityBins) -> None:
    """Draw the accuracy of predictions by their confidence, above a histogram of confidence."""
    filled = measured.counts > 0
    width = 1 / len(measured.counts)
    middles = (measured.edges[:-1] + measured.edges[1:]) / 2
    accuracy, counts = measured.accuracy[filled], measured.counts[filled]
    error = np.sqrt(accuracy * (1 - accuracy) / counts)
    with picture(path, 6.5, 7) as drawn:
        upper, lower = drawn.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.bar(middles[filled], accuracy, width * 0.92, color=PALETTE[5], label="share that is right")
        note = "± standard error"
        upper.errorbar(middles[filled], accuracy, error, fmt="none", color="0.2", lw=1, capsize=2, label=note)
        upper.plot([0, 1], [0, 1], "--", color=GREY, label="perfect calibration")
        note = "at the mean confidence"
        upper.plot(measured.confidence[filled], accuracy, "D", color=PALETTE[1], ms=5, label=note)
        upper.set(ylim=(0, 1.02), xlim=(0, 1), ylabel="share of predictions that is right", title=title)
        upper.legend(loc="upper left", fontsize=9)
        lower.bar(middles, measured.counts, width * 0.92, color="0.55")
        lower.set(xlabel="confidence: probability of the top class", ylabel="predictions")


def mistakes_sheet(
    path: Path,
    title: str,
    mistakes: Sequence[Mistake],
    images: npt.NDArray[np.uint8],
    numbers: Mapping[int, int],
) -> None:
    """Draw the images (n, 32, 32, 3) of wrong predictions with prediction, label and number.

    ``numbers`` maps an index among ``images`` to the number that the user knows.
    """
    rows = math.ceil(len(mistakes) / _COLUMNS)
    pitch = _MISTAKE_IN + 0.12
    row_in = pitch + _TEXT_IN
    scale = _MISTAKE_IN / IMAGE_SHAPE[0]
    with canvas(path, _COLUMNS * pitch + 2 * MARGIN_IN, TITLE_IN + rows * row_in, title) as drawn:
        for place, each in enumerate(mistakes):
            left, top = MARGIN_IN + (place % _COLUMNS) * pitch, TITLE_IN - 0.2 + (place // _COLUMNS) * row_in
            text = (
                f"said {CLASS_NAMES[each.said]} {each.probability:.1%}\n"
                f"is {CLASS_NAMES[each.label]} {each.probability_of_label:.1%}\nimage {numbers[each.index]}"
            )
            drawn.text(left, top + _TEXT_IN - 0.06, text, va="bottom", linespacing=1.25)
            drawn.tile(left, top + _TEXT_IN, images[each.index] / 255, scale)
