"""Small pictures side by side: mosaics of maps, and sheets of labelled strips."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.plotting import DOTS_PER_INCH, PALETTE, picture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from matplotlib.axes import Axes

    from training.visualize.fields import Box

GAP_IN = 0.04
_BLOCKS = 2
_EDGE = "0.6"  # about a tile: white ones end somewhere too
_LABEL_IN = 1.05
TITLE_IN = 0.7
"""Height of title and note."""
MARGIN_IN = 0.12


@dataclass(frozen=True)
class Strip:
    """A label and the tiles beside it."""

    label: str
    tiles: Sequence[npt.NDArray[np.float64]]
    """Each (h, w, 3), 0 to 1."""
    boxes: Sequence[Box] = ()
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
    pitch, scale = tile_in + GAP_IN, tile_in / tile_px
    block_in = _LABEL_IN + most_tiles * pitch + 2 * MARGIN_IN
    with canvas(path, _BLOCKS * block_in, TITLE_IN + rows * pitch + MARGIN_IN, title, note) as drawn:
        for place, strip in enumerate(strips):
            left = (place // rows) * block_in + MARGIN_IN
            top = TITLE_IN + (place % rows) * pitch
            drawn.text(left, top + tile_in / 2, strip.label, va="center", linespacing=1.15)
            for number, tile in enumerate(strip.tiles):
                corner = left + _LABEL_IN + number * pitch
                drawn.tile(corner, top, tile, scale)
                if strip.boxes:
                    drawn.frame(corner, top, strip.boxes[number], scale)


class Canvas:
    """A sheet measured in inches from its upper left corner."""

    def __init__(self, axes: Axes, width_in: float, height_in: float) -> None:
        self._axes = axes
        self._size = width_in, height_in
        # All tiles are one image, all lines of a colour one line: an artist each takes longest of all.
        self._pixels = np.ones(
            (*(round(side * DOTS_PER_INCH) for side in (height_in, width_in)), 3), np.float32
        )
        self._lines: dict[tuple[str, float], list[tuple[float, float]]] = {}

    def tile(self, left: float, top: float, tile: npt.NDArray[np.float64], scale: float) -> None:
        """Draw a tile (h, w, 3) of 0 to 1, ``scale`` inches a pixel, with a thin edge about it."""
        height, width = (side * scale for side in tile.shape[:2])
        rows, columns = (
            slice(round(start * DOTS_PER_INCH), round((start + side) * DOTS_PER_INCH))
            for start, side in ((top, height), (left, width))
        )
        target = self._pixels[rows, columns]
        from_row, from_column = (
            np.arange(there) * here // there
            for there, here in zip(target.shape[:2], tile.shape[:2], strict=True)
        )
        target[:] = tile[from_row][:, from_column]
        self._outline((left, top, left + width, top + height), _EDGE, 0.5)

    def frame(self, left: float, top: float, box: Box, scale: float) -> None:
        """Draw a box of pixels into a tile of that corner and scale."""
        upper, first, lower, last = (each * scale for each in box)
        edges = left + first, top + upper, left + last, top + lower
        self._outline(edges, "white", 2.0)  # seen on dark and on light
        self._outline(edges, PALETTE[1], 1.0)

    def text(self, left: float, top: float, text: str, size: float = 8, **look: Any) -> None:  # noqa: ANN401
        """Write; ``look`` is matplotlib's."""
        self._axes.text(left, top, text, fontsize=size, **look)

    def finish(self) -> None:
        """Put tiles and lines on the axes."""
        width, height = self._size
        self._axes.imshow(self._pixels, extent=(0, width, height, 0), aspect="auto")
        for (colour, line), points in self._lines.items():
            self._axes.plot(*zip(*points, strict=True), color=colour, lw=line)
        self._axes.set(xlim=(0, width), ylim=(height, 0))
        self._axes.axis("off")

    def _outline(self, edges: tuple[float, float, float, float], colour: str, line: float) -> None:
        left, top, right, bottom = edges
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top), (np.nan, np.nan)]
        self._lines.setdefault((colour, line), []).extend(corners)


@contextlib.contextmanager
def canvas(path: Path, width_in: float, height_in: float, title: str, note: str = "") -> Iterator[Canvas]:
    """Make a sheet of that size with its title; it is written when the block ends without an error."""
    with picture(path, width_in, height_in) as drawn:
        drawn.set_layout_engine("none")
        sheet = Canvas(drawn.add_axes((0, 0, 1, 1)), width_in, height_in)
        sheet.text(MARGIN_IN, 0.24, title, 13, va="center")
        sheet.text(MARGIN_IN, 0.5, note, 8.5, va="center", color="0.3")
        yield sheet
        sheet.finish()


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
