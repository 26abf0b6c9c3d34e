"""How good the answers are: confusion matrix, reliability diagram, mistakes."""

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
    from training.visualize.reliability import Calibration, Mistake

_DARK_BELOW = 0.55  # of the colour map: there the text is white
_COLUMNS = 6
_MISTAKE_IN = 1.5
_WORDS_IN = 0.55


def confusion_matrix(path: Path, title: str, result: Evaluation) -> None:
    """Draw how many images of each class were taken for which."""
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
                f"{name}  {'' if math.isnan(share) else f'{share:.0%}'}"
                for name, share in zip(CLASS_NAMES, result.per_class, strict=True)
            ],
        )
        axes.tick_params(length=0)
        axes.spines[:].set_visible(b=False)
        axes.set(xlabel="the model's answer", ylabel="what the image shows, and the share that is right")
        axes.set_title(title)
        drawn.colorbar(image, ax=axes, shrink=0.8, label="share of the images of a class")


def reliability_diagram(path: Path, title: str, measured: Calibration) -> None:
    """Draw how often answers are right that the model is some percent sure of."""
    filled = measured.counts > 0
    width = 1 / len(measured.counts)
    middles = (measured.edges[:-1] + measured.edges[1:]) / 2
    accuracy, counts = measured.accuracy[filled], measured.counts[filled]
    error = np.sqrt(accuracy * (1 - accuracy) / counts)
    with picture(path, 6.5, 7) as drawn:
        upper, lower = drawn.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.bar(middles[filled], accuracy, width * 0.92, color=PALETTE[5], label="share that is right")
        upper.errorbar(
            middles[filled],
            accuracy,
            error,
            fmt="none",
            color="0.2",
            lw=1,
            capsize=2,
            label="± standard error",
        )
        upper.plot([0, 1], [0, 1], "--", color=GREY, label="as sure as right")
        upper.plot(
            measured.confidence[filled], accuracy, "D", color=PALETTE[1], ms=5, label="at the mean confidence"
        )
        upper.set(ylim=(0, 1.02), xlim=(0, 1), ylabel="share of answers that is right", title=title)
        upper.legend(loc="upper left", fontsize=9)
        lower.bar(middles, measured.counts, width * 0.92, color="0.55")
        lower.set(xlabel="confidence: probability of the first class", ylabel="answers")


def mistakes_sheet(
    path: Path,
    title: str,
    mistakes: Sequence[Mistake],
    images: npt.NDArray[np.uint8],
    numbers: Mapping[int, int],
) -> None:
    """Draw the images (n, 32, 32, 3) of wrong answers, with what was said and what is right.

    ``numbers`` has for each index among ``images`` the number by which the user knows it.
    """
    rows = math.ceil(len(mistakes) / _COLUMNS)
    pitch = _MISTAKE_IN + 0.12
    row_in = pitch + _WORDS_IN
    scale = _MISTAKE_IN / IMAGE_SHAPE[0]
    with canvas(path, _COLUMNS * pitch + 2 * MARGIN_IN, TITLE_IN + rows * row_in, title) as drawn:
        for place, each in enumerate(mistakes):
            left, top = MARGIN_IN + (place % _COLUMNS) * pitch, TITLE_IN - 0.2 + (place // _COLUMNS) * row_in
            drawn.text(
                left,
                top + _WORDS_IN - 0.06,
                f"said {CLASS_NAMES[each.said]} {each.probability:.1%}\n"
                f"is {CLASS_NAMES[each.label]} {each.probability_of_label:.1%}\nimage {numbers[each.index]}",
                va="bottom",
                linespacing=1.25,
            )
            drawn.tile(left, top + _WORDS_IN, images[each.index] / 255, scale)
