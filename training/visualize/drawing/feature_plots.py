"""Feature maps of one image on one sheet."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from training.data.cifar10 import CLASS_NAMES
from training.plotting import DIVERGING, PALETTE, SEQUENTIAL, picture
from training.visualize.drawing.tiles import evenly_spaced, mosaic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

MOST_MAPS = 40
_COLUMNS = 20
_FOLD = 64
_WIDTH_IN = 11.0
_TABLE_IN = 10.2
_HEAD_IN = 2.0
_MARGIN_IN = 0.12
_TITLE_IN = 0.3
_MOST_IN = 3.0
_MAP, _STEPS = 3, 2


def feature_sheet(
    path: Path,
    title: str,
    image: npt.NDArray[np.uint8],
    probabilities: npt.NDArray[np.float32],
    maps: Mapping[str, npt.NDArray[np.float32]],
) -> None:
    """Draw an image (32, 32, 3), its probabilities (10,), and the output of each layer in order."""
    tables = {name: _as_table(values) for name, values in maps.items()}
    heights = {
        name: min(_MOST_IN, _TABLE_IN * len(table) / full_width)
        for name, (table, full_width, _) in tables.items()
    }
    height = 0.45 + _HEAD_IN + sum(each + _TITLE_IN + _MARGIN_IN for each in heights.values()) + _MARGIN_IN
    with picture(path, _WIDTH_IN, height) as drawn:
        drawn.set_layout_engine("none")
        place = partial(_axes, drawn)
        drawn.text(_MARGIN_IN / _WIDTH_IN, 1 - 0.25 / height, title, fontsize=13, va="center")
        left = place(_MARGIN_IN, 0.5, 1.8, 1.8)
        left.imshow(image)
        left.axis("off")
        _draw_probabilities(place(3.2, 0.7, 7.0, 1.6), probabilities)
        top = 0.45 + _HEAD_IN
        for name, (table, full_width, note) in tables.items():
            top += _TITLE_IN
            width = _TABLE_IN * min(1.0, table.shape[1] / full_width)
            shown = _draw(place(_MARGIN_IN, top, width, heights[name]), f"{name}: {note}", table)
            bar = drawn.colorbar(shown, cax=place(_TABLE_IN + 0.25, top, 0.1, heights[name]))
            bar.ax.tick_params(labelsize=7)
            bar.ax.locator_params(nbins=3)
            top += heights[name] + _MARGIN_IN


def _draw_probabilities(axes: Axes, probabilities: npt.NDArray[np.float32]) -> None:
    axes.barh(range(len(CLASS_NAMES)), probabilities, color=PALETTE[0], height=0.7)
    for place, value in enumerate(probabilities):
        axes.text(float(value) + 0.01, place, f"{value:.1%}", va="center", fontsize=8)
    axes.set_yticks(range(len(CLASS_NAMES)), CLASS_NAMES, fontsize=8)
    axes.set(xlim=(0, 1.1), ylim=(len(CLASS_NAMES) - 0.5, -0.5), title="predicted probability", xticks=[])
    axes.tick_params(length=0)


def _axes(drawn: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes at a position in inches from the upper left corner."""
    whole_width, whole_height = drawn.get_size_inches()
    bottom = 1 - (top + height) / whole_height
    return drawn.add_axes((left / whole_width, bottom, width / whole_width, height / whole_height))


def _as_table(values: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], int, str]:
    """Return a layer's values as a table, the number of columns that fill the sheet, and a description."""
    if values.ndim == _MAP:
        chosen = evenly_spaced(len(values), MOST_MAPS)
        shown = f", {len(chosen)} shown" if len(chosen) < len(values) else ""
        _, height, width = values.shape
        full_width = _COLUMNS * (width + 1) - 1
        return mosaic(values[chosen], _COLUMNS), full_width, f"{len(values)} maps {height}x{width}{shown}"
    if values.ndim == _STEPS:
        steps, width = values.shape
        return values, width, f"{steps} steps from top to bottom, {width} values each"
    width = min(values.size, _FOLD)
    folded = np.full((math.ceil(values.size / _FOLD), width), np.nan, np.float32)
    folded.flat[: values.size] = values.ravel()
    return folded, _FOLD, f"{values.size} values, {width} per row"


def _draw(axes: Axes, title: str, table: npt.NDArray[np.float32]) -> AxesImage:
    largest = float(np.nanmax(np.abs(table))) or 1.0
    colours, low = (DIVERGING, -largest) if np.nanmin(table) < 0 else (SEQUENTIAL, 0.0)
    axes.axis("off")
    axes.set_title(title, fontsize=9, pad=3)
    return axes.imshow(table, cmap=colours, vmin=low, vmax=largest, aspect="auto")
