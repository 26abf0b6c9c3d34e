"""Sheets place and scale their pixels correctly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from training.plotting import DOTS_PER_INCH
from training.visualize.drawing.attribution_plots import scale_limit
from training.visualize.drawing.tiles import (
    MARGIN_IN,
    TITLE_IN,
    Strip,
    centred_on_grey,
    evenly_spaced,
    mosaic,
    sheet,
)

if TYPE_CHECKING:
    from pathlib import Path

LABEL_IN = 1.05


def test_a_sheet_shows_its_tiles_in_order_and_the_cut_ones_smaller(tmp_path: Path) -> None:
    red, green = np.zeros((4, 4, 3)), np.zeros((2, 4, 3))
    red[..., 0], green[..., 1] = 1, 1

    sheet(
        tmp_path / "sheet.png",
        "title",
        "note",
        [Strip("a", [red, green])],
        most_tiles=2,
        tile_px=4,
        tile_in=1.0,
    )

    with Image.open(tmp_path / "sheet.png") as opened:
        pixels = np.asarray(opened.convert("RGB"))

    def colour(right_in: float, down_in: float) -> tuple[int, ...]:
        row, column = (TITLE_IN + down_in) * DOTS_PER_INCH, (MARGIN_IN + LABEL_IN + right_in) * DOTS_PER_INCH
        return tuple(pixels[round(row), round(column)].tolist())

    assert colour(0.5, 0.5) == colour(0.9, 0.9) == (255, 0, 0)
    assert colour(1.5, 0.25) == (0, 255, 0)
    assert colour(1.5, 0.75) == (255, 255, 255)  # half a tile: the image ended there


def test_a_mosaic_goes_row_by_row_with_gaps() -> None:
    laid = mosaic(np.arange(3, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32), columns=2)

    assert laid.shape == (5, 5)
    assert (laid[0, 0], laid[0, 3], laid[3, 0]) == (0, 1, 2)
    assert np.isnan(laid[2]).all()
    assert np.isnan(laid[:, 2]).all()
    assert np.isnan(laid[3, 3])


def test_what_is_shown_of_many_is_spread_over_all() -> None:
    assert evenly_spaced(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert evenly_spaced(100, 3).tolist() == [0, 50, 99]
    assert evenly_spaced(0, 3).tolist() == []


def test_zero_is_grey_and_the_largest_magnitude_full() -> None:
    assert centred_on_grey(np.array([-2.0, 0.0, 1.0], np.float32)).tolist() == [0.0, 0.5, 0.75]
    assert centred_on_grey(np.zeros(2, np.float32)).tolist() == [0.5, 0.5]


def test_losses_of_rounding_are_pale_and_single_pixels_do_not_pale_the_others() -> None:
    rounding = np.full(100, 4e-6, np.float32)
    one_pixel = np.append(np.full(999, 0.2), 5).astype(np.float32)

    assert scale_limit(rounding, 0.01) == 0.01
    assert scale_limit(-rounding, 0) == np.float32(4e-6)
    assert scale_limit(one_pixel, 0.01) == np.float32(0.2)
    assert scale_limit(np.zeros(9, np.float32), 0) == 1
