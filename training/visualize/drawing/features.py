"""Feature maps of one image as one picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from training.plotting import DIVERGING, PALETTE, SEQUENTIAL, picture
from training.sources import CLASS_NAMES
from training.visualize.drawing.tiles import mosaic, spread

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt
    from matplotlib.axes import Axes

MOST_MAPS = 40
_COLUMNS = 20
_FOLD = 64
_HEAD_IN = 2.0
_ROW_IN = 0.52
_TITLE_IN = 0.36
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
    heights = [_HEAD_IN, *(rows * _ROW_IN + _TITLE_IN for _, _, rows in laid.values())]
    with picture(path, 11, sum(heights) + 0.5) as drawn:
        drawn.suptitle(title, x=0.01, ha="left", fontsize=13)
        head, *bodies = drawn.subfigures(len(heights), 1, height_ratios=heights)
        left, right = head.subplots(1, 2, width_ratios=[1, 3])
        left.imshow(image)
        left.axis("off")
        _answer(right, probabilities)
        for body, (name, (table, note, _)) in zip(bodies, laid.items(), strict=True):
            axes = body.subplots()
            _draw(axes, f"{name}: {note}", table)


def _answer(axes: Axes, probabilities: npt.NDArray[np.float32]) -> None:
    axes.barh(range(len(CLASS_NAMES)), probabilities, color=PALETTE[0], height=0.7)
    for place, value in enumerate(probabilities):
        axes.text(float(value) + 0.01, place, f"{value:.1%}", va="center", fontsize=8)
    axes.set_yticks(range(len(CLASS_NAMES)), CLASS_NAMES, fontsize=8)
    axes.set(xlim=(0, 1.1), ylim=(len(CLASS_NAMES) - 0.5, -0.5), title="answer: probability", xticks=[])
    axes.tick_params(length=0)


def _laid_out(values: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], str, int]:
    """Return the table that shows a layer's values, what it is, and how many rows of tiles it is high."""
    if values.ndim == _MAP:
        chosen = spread(len(values), MOST_MAPS)
        shape = f"{values.shape[1]}x{values.shape[2]}"
        note = f"{len(values)} maps {shape}" + (f", {len(chosen)} shown" if len(chosen) < len(values) else "")
        return mosaic(values[chosen], _COLUMNS), note, math.ceil(len(chosen) / _COLUMNS)
    if values.ndim == _STEPS:
        return values, f"{values.shape[0]} steps downwards, {values.shape[1]} values each", 3
    folded = np.full((math.ceil(values.size / _FOLD), min(values.size, _FOLD)), np.nan, np.float32)
    folded.flat[: values.size] = values.ravel()
    return folded, f"{values.size} values, {folded.shape[1]} a row", 1 + (len(folded) > _FOLD // 8)


def _draw(axes: Axes, title: str, table: npt.NDArray[np.float32]) -> None:
    largest = float(np.nanmax(np.abs(table))) or 1.0
    has_signs = float(np.nanmin(table)) < 0
    drawn = axes.imshow(
        table, cmap=DIVERGING if has_signs else SEQUENTIAL, vmin=-largest if has_signs else 0, vmax=largest
    )
    axes.axis("off")
    axes.set_title(title, fontsize=9)
    axes.set_anchor("W")
    bar = axes.figure.colorbar(drawn, ax=axes, fraction=0.02, pad=0.01)
    bar.ax.tick_params(labelsize=7)
