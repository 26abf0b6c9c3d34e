"""Feature maps of one image as one picture."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from training.data.cifar10 import CLASS_NAMES
from training.plotting import DIVERGING, PALETTE, SEQUENTIAL, picture
from training.visualize.drawing.tiles import mosaic, spread

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
    """Draw an image (32, 32, 3), the answer (10,), and what each layer made of it, in their order."""
    laid = {name: _laid_out(values) for name, values in maps.items()}
    heights = {name: _height_in(table, _full_width(maps[name])) for name, (table, _) in laid.items()}
    height = 0.45 + _HEAD_IN + sum(each + _TITLE_IN + _MARGIN_IN for each in heights.values()) + _MARGIN_IN
    with picture(path, _WIDTH_IN, height) as drawn:
        drawn.set_layout_engine("none")
        place = partial(_axes, drawn)
        drawn.text(_MARGIN_IN / _WIDTH_IN, 1 - 0.25 / height, title, fontsize=13, va="center")
        left = place(_MARGIN_IN, 0.5, 1.8, 1.8)
        left.imshow(image)
        left.axis("off")
        _answer(place(3.2, 0.7, 7.0, 1.6), probabilities)
        top = 0.45 + _HEAD_IN
        for name, (table, note) in laid.items():
            top += _TITLE_IN
            width = _TABLE_IN * min(1.0, table.shape[1] / _full_width(maps[name]))
            shown = _draw(place(_MARGIN_IN, top, width, heights[name]), f"{name}: {note}", table)
            bar = drawn.colorbar(shown, cax=place(_TABLE_IN + 0.25, top, 0.1, heights[name]))
            bar.ax.tick_params(labelsize=7)
            bar.ax.locator_params(nbins=3)
            top += heights[name] + _MARGIN_IN


def _answer(axes: Axes, probabilities: npt.NDArray[np.float32]) -> None:
    axes.barh(range(len(CLASS_NAMES)), probabilities, color=PALETTE[0], height=0.7)
    for place, value in enumerate(probabilities):
        axes.text(float(value) + 0.01, place, f"{value:.1%}", va="center", fontsize=8)
    axes.set_yticks(range(len(CLASS_NAMES)), CLASS_NAMES, fontsize=8)
    axes.set(xlim=(0, 1.1), ylim=(len(CLASS_NAMES) - 0.5, -0.5), title="answer: probability", xticks=[])
    axes.tick_params(length=0)


def _axes(drawn: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Make axes by inches from the upper left corner."""
    whole_width, whole_height = drawn.get_size_inches()
    return drawn.add_axes(
        (
            left / whole_width,
            1 - (top + height) / whole_height,
            width / whole_width,
            height / whole_height,
        )
    )


def _laid_out(values: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], str]:
    """Return the table that shows a layer's values, and what it is."""
    if values.ndim == _MAP:
        chosen = spread(len(values), MOST_MAPS)
        shown = f", {len(chosen)} shown" if len(chosen) < len(values) else ""
        return mosaic(
            values[chosen], _COLUMNS
        ), f"{len(values)} maps {values.shape[1]}x{values.shape[2]}{shown}"
    if values.ndim == _STEPS:
        return values, f"{values.shape[0]} steps downwards, {values.shape[1]} values each"
    folded = np.full((math.ceil(values.size / _FOLD), min(values.size, _FOLD)), np.nan, np.float32)
    folded.flat[: values.size] = values.ravel()
    return folded, f"{values.size} values, {folded.shape[1]} a row"


def _full_width(values: npt.NDArray[np.float32]) -> int:
    """Return how many columns of a table fill the width."""
    width: int = values.shape[-1]
    if values.ndim == _MAP:
        return _COLUMNS * (width + 1) - 1
    return width if values.ndim == _STEPS else _FOLD


def _height_in(table: npt.NDArray[np.float32], full_width: int) -> float:
    rows: int = table.shape[0]
    return min(_MOST_IN, _TABLE_IN * rows / full_width)


def _draw(axes: Axes, title: str, table: npt.NDArray[np.float32]) -> AxesImage:
    largest = float(np.nanmax(np.abs(table))) or 1.0
    has_signs = float(np.nanmin(table)) < 0
    axes.axis("off")
    axes.set_title(title, fontsize=9, pad=3)
    return axes.imshow(
        table,
        cmap=DIVERGING if has_signs else SEQUENTIAL,
        vmin=-largest if has_signs else 0,
        vmax=largest,
        aspect="auto",
    )
