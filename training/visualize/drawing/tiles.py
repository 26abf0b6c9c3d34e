"""Small images side by side: mosaics of maps, and sheets of labelled strips."""

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

    from training.visualize.receptive_fields import PixelBox

GAP_IN = 0.04
_BLOCKS = 2
_EDGE = "0.6"  # outline of a tile, so that white ones can be seen
_LABEL_IN = 1.05
TITLE_IN = 0.7
"""Height of title and note together."""
MARGIN_IN = 0.12


@dataclass(frozen=True)
class Strip:
    """A label and the tiles to its right."""

    label: str
    tiles: Sequence[npt.NDArray[np.float64]]
    """Each (h, w, 3), 0 to 1."""
    boxes: Sequence[PixelBox] = ()
    """A frame to draw into each tile; may be empty."""


def sheet(  # noqa: PLR0913 - content and layout
    path: Path,
    title: str,
    note: str,
    strips: Sequence[Strip],
    *,
    most_tiles: int,
    tile_px: int,
    tile_in: float = 0.5,
) -> None:
    """Draw strips in two columns.

    Args:
        path: the PNG file.
        title: first line.
        note: second line, smaller: what the tiles are and how they are scaled.
        strips: from top to bottom, first in the left column.
        most_tiles: tiles per strip to leave space for.
        tile_px: side of a full tile in pixels; tiles cut off by a border are smaller.
        tile_in: side of a full tile in inches.
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
    """A drawing surface with coordinates in inches from the upper left corner."""

    def __init__(self, axes: Axes, width_in: float, height_in: float) -> None:
        self._axes = axes
        self._size = width_in, height_in
        # All tiles share one image, all lines of a colour one line: a matplotlib artist for each is slow.
        self._pixels = np.ones(
            (*(round(side * DOTS_PER_INCH) for side in (height_in, width_in)), 3), np.float32
        )
        self._lines: dict[tuple[str, float], list[tuple[float, float]]] = {}

    def tile(self, left: float, top: float, tile: npt.NDArray[np.float64], scale: float) -> None:
        """Draw a tile (h, w, 3) of values 0 to 1, ``scale`` inches per pixel, with a thin outline."""
        height, width = (side * scale for side in tile.shape[:2])
        rows, columns = (
            slice(round(start * DOTS_PER_INCH), round((start + side) * DOTS_PER_INCH))
            for start, side in ((top, height), (left, width))
        )
        target = self._pixels[rows, columns]
        from_row, from_column = (
            np.arange(dots) * pixels // dots
            for dots, pixels in zip(target.shape[:2], tile.shape[:2], strict=True)
        )
        target[:] = tile[from_row][:, from_column]
        self._outline((left, top, left + width, top + height), _EDGE, 0.5)

    def frame(self, left: float, top: float, box: PixelBox, scale: float) -> None:
        """Draw a box of pixels into a tile of this corner and scale."""
        upper, first, lower, last = (each * scale for each in box)
        edges = left + first, top + upper, left + last, top + lower
        self._outline(edges, "white", 2.0)  # visible on dark and on light
        self._outline(edges, PALETTE[1], 1.0)

    def text(self, left: float, top: float, text: str, size: float = 8, **style: Any) -> None:  # noqa: ANN401
        """Draw text; ``style`` is passed to matplotlib."""
        self._axes.text(left, top, text, fontsize=size, **style)

    def finish(self) -> None:
        """Add the collected tiles and lines to the axes."""
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
    """Yield a canvas with a title; it is written to ``path`` if the block ends without an error."""
    with picture(path, width_in, height_in) as drawn:
        drawn.set_layout_engine("none")
        surface = Canvas(drawn.add_axes((0, 0, 1, 1)), width_in, height_in)
        surface.text(MARGIN_IN, 0.24, title, 13, va="center")
        surface.text(MARGIN_IN, 0.5, note, 8.5, va="center", color="0.3")
        yield surface
        surface.finish()


def mosaic(maps: npt.NDArray[np.float32], columns: int, gap: int = 1) -> npt.NDArray[np.float32]:
    """Arrange maps (n, h, w) or (n, h, w, 3) in rows, separated by NaN."""
    n, height, width, *colours = maps.shape
    rows = math.ceil(n / columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *colours)
    laid = np.full(shape, np.nan, np.float32)
    for place, each in enumerate(maps):
        top, left = (place // columns) * (height + gap), (place % columns) * (width + gap)
        laid[top : top + height, left : left + width] = each
    return laid


def evenly_spaced(n: int, most: int) -> npt.NDArray[np.int64]:
    """Choose at most ``most`` of ``n`` indices, evenly spaced, with the first and the last."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def crop(image: npt.NDArray[np.float64], box: PixelBox) -> npt.NDArray[np.float64]:
    """Return the part of an image (32, 32, 3) within a box."""
    top, left, bottom, right = box
    return image[top:bottom, left:right]


def centred_on_grey(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Scale signed values to colours 0 to 1: zero is mid-grey, the largest magnitude 0 or 1."""
    largest = float(np.abs(values).max())
    scaled: npt.NDArray[np.float64] = 0.5 + values.astype(np.float64) / (2 * largest or 1.0)
    return scaled
