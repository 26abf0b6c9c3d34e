"""Kernels of convolutions, in colour and as a matrix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from training.plotting import DIVERGING, picture
from training.visualize.drawing.tiles import (
    MARGIN_IN,
    TITLE_IN,
    canvas,
    centred_on_grey,
    evenly_spaced,
    mosaic,
)

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

MOST_COLOUR_FILTERS = 64
MOST_KERNELS_PER_SIDE = 32
_COLUMNS = 8
_FILTER_IN = 1.0
_SHARE_IN_SCALE = 99.5  # percentile; with the maximum, a few outliers would make all others pale


def colour_filters(path: Path, name: str, weights: npt.NDArray[np.float32]) -> None:
    """Draw filters (n, height, width, 3), each with its own scale, written below it."""
    chosen = evenly_spaced(len(weights), MOST_COLOUR_FILTERS)
    rows = math.ceil(len(chosen) / _COLUMNS)
    across, down = _FILTER_IN + 0.12, _FILTER_IN + 0.3
    scale = _FILTER_IN / max(weights.shape[1:3])
    note = "below each: its number and its largest weight; grey is zero"
    title = f"{name}: filters in colour{_shown_of(chosen.shape, weights.shape[:1])}"
    with canvas(path, _COLUMNS * across + 2 * MARGIN_IN, TITLE_IN + rows * down, title, note) as drawn:
        for place, index in enumerate(chosen):
            left, top = MARGIN_IN + (place % _COLUMNS) * across, TITLE_IN + (place // _COLUMNS) * down
            drawn.tile(left, top, centred_on_grey(weights[index]), scale)
            largest = np.abs(weights[index]).max()
            drawn.text(left, top + _FILTER_IN + 0.13, f"{index}: ±{largest:.2g}", va="center")


def kernel_matrix(path: Path, name: str, weights: npt.NDArray[np.float32]) -> None:
    """Draw kernels (filters, channels, h, w) as a matrix: a row per filter, a column per input channel."""
    filters = evenly_spaced(len(weights), MOST_KERNELS_PER_SIDE)
    channels = evenly_spaced(weights.shape[1], MOST_KERNELS_PER_SIDE)
    shown = weights[np.ix_(filters, channels)]
    laid = mosaic(shown.reshape(-1, *shown.shape[2:]), len(channels))
    part = _shown_of(shown.shape[:2], weights.shape[:2])
    limit = float(np.percentile(np.abs(shown), _SHARE_IN_SCALE)) or 1.0
    pitch = shown.shape[2] + 1
    with picture(path, 9, 0.8 + 7.1 * laid.shape[0] / laid.shape[1]) as drawn:
        axes = drawn.subplots()
        image = axes.imshow(laid, cmap=DIVERGING, vmin=-limit, vmax=limit)
        for axis, numbers in ((axes.yaxis, filters), (axes.xaxis, channels)):
            axis.set_ticks(np.arange(len(numbers)) * pitch + (pitch - 2) / 2, map(str, numbers), fontsize=7)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(b=False)
        axes.set(
            xlabel="input channel",
            ylabel="filter",
            title=f"{name}: kernels {shown.shape[2]}x{shown.shape[3]}{part}",
        )
        drawn.colorbar(image, ax=axes, shrink=0.6, extend="both", label="weight")


def _shown_of(shown: tuple[int, ...], total: tuple[int, ...]) -> str:
    """Return how many are shown if not all are, such as " (32x32 of 320x160)"."""
    if shown == total:
        return ""
    return f" ({'x'.join(map(str, shown))} of {'x'.join(map(str, total))})"
