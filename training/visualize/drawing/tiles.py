"""Small pictures side by side: mosaics of maps, and sheets of labelled strips."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from training.plotting import PALETTE, picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt
    from matplotlib.axes import Axes

    from training.visualize.fields import Box

_GAP_IN = 0.04
_BLOCKS = 2
_EDGE = "0.6"  # about a tile: white ones end somewhere too
_LABEL_IN = 1.05
_TITLE_IN = 0.7
_MARGIN_IN = 0.12


@dataclass(frozen=True)
class Strip:
    """A label and the tiles beside it."""

    label: str
    tiles: Sequence[npt.NDArray[np.float64]]
    """Each (h, w, 3), 0 to 1."""
    boxes: Sequence[Box | None] = field(default_factory=tuple)
    """A frame drawn into each tile, if any."""


def sheet(  # noqa: PLR0913 - what, and how it is laid out
    path: Path,
    title: str,
    note: str,
    strips: Sequence[Strip],
    *,
    most_tiles: int,
    tile_px: int,
    tile_in: float = 0.5,
) -> None:
    """Draw strips below each other, in two blocks side by side.

    Args:
        path: the PNG file.
        title: first line.
        note: second line, smaller: what the tiles are and how they are scaled.
        strips: from top to bottom, then the next block.
        most_tiles: room for so many tiles a strip.
        tile_px: pixels along the side of a whole tile; one cut off by a border is smaller.
        tile_in: side of a tile in inches.
    """
    rows = math.ceil(len(strips) / _BLOCKS)
    pitch = tile_in + _GAP_IN
    block_in = _LABEL_IN + most_tiles * pitch + 2 * _MARGIN_IN
    width, height = _BLOCKS * block_in, _TITLE_IN + rows * pitch + _MARGIN_IN
    with picture(path, width, height) as drawn:
        drawn.set_layout_engine("none")
        axes = drawn.add_axes((0, 0, 1, 1))
        axes.axis("off")
        axes.text(_MARGIN_IN, 0.24, title, fontsize=13, va="center")
        axes.text(_MARGIN_IN, 0.5, note, fontsize=8.5, va="center", color="0.3")
        for place, strip in enumerate(strips):
            left = (place // rows) * block_in + _MARGIN_IN
            _draw_strip(axes, strip, left, _TITLE_IN + (place % rows) * pitch, tile_px, tile_in)
        axes.set(xlim=(0, width), ylim=(height, 0))


def _draw_strip(  # noqa: PLR0913, PLR0917 - where it goes
    axes: Axes, strip: Strip, left: float, top: float, tile_px: int, tile_in: float
) -> None:
    axes.text(left, top + tile_in / 2, strip.label, fontsize=8, va="center", linespacing=1.15)
    scale = tile_in / tile_px
    boxes = strip.boxes or [None] * len(strip.tiles)
    for place, (tile, box) in enumerate(zip(strip.tiles, boxes, strict=True)):
        corner = left + _LABEL_IN + place * (tile_in + _GAP_IN)
        height, width = tile.shape[:2]
        right, bottom = corner + width * scale, top + height * scale
        axes.imshow(tile, extent=(corner, right, bottom, top), vmin=0, vmax=1, aspect="auto")
        _outline(axes, (top, corner, bottom, right), _EDGE, 0.5)
        if box is not None:
            _frame(axes, box, (corner, top), scale)


def _frame(axes: Axes, box: Box, corner: tuple[float, float], scale: float) -> None:
    upper, left, lower, right = (each * scale for each in box)
    edges = corner[1] + upper, corner[0] + left, corner[1] + lower, corner[0] + right
    for colour, line in (("white", 2.0), (PALETTE[1], 1.0)):  # seen on dark and on light
        _outline(axes, edges, colour, line)


def _outline(axes: Axes, edges: tuple[float, float, float, float], colour: str, line: float) -> None:
    top, left, bottom, right = edges
    axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=colour, lw=line)


def mosaic(maps: npt.NDArray[np.float32], columns: int, gap: int = 1) -> npt.NDArray[np.float32]:
    """Lay maps (n, h, w) or (n, h, w, 3) out in rows, with not-a-number between them."""
    n, height, width, *colours = maps.shape
    rows = math.ceil(n / columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *colours)
    laid = np.full(shape, np.nan, np.float32)
    for place, each in enumerate(maps):
        top, left = (place // columns) * (height + gap), (place % columns) * (width + gap)
        laid[top : top + height, left : left + width] = each
    return laid


def spread(n: int, most: int) -> npt.NDArray[np.int64]:
    """Choose at most ``most`` of ``n`` places, evenly: the first and the last are among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def crop(image: npt.NDArray[np.float64], box: Box) -> npt.NDArray[np.float64]:
    """Cut a box out of (32, 32, 3)."""
    top, left, bottom, right = box
    return image[top:bottom, left:right]


def about_grey(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Scale values about zero to colours 0 to 1: zero is mid-grey, the largest magnitude is full."""
    largest = float(np.abs(values).max())
    scaled: npt.NDArray[np.float64] = 0.5 + values.astype(np.float64) / (2 * largest or 1.0)
    return scaled
