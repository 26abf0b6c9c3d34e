"""Random flips and shifts of uint8 batches; the same generator state gives the same batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def flip_and_shift(
    images: npt.NDArray[np.uint8], generator: np.random.Generator, shift_px: int
) -> npt.NDArray[np.uint8]:
    """Mirror half of the images and move each by up to ``shift_px`` pixels along both axes.

    Args:
        images: uint8 (n, h, w, c); unchanged.
        generator: source of the choices.
        shift_px: largest shift in pixels, 0 or more; what comes in at the border is a reflection.

    Returns:
        uint8 (n, h, w, c), contiguous.
    """
    n: int
    n, height, width, _ = images.shape
    border = (shift_px, shift_px)
    padded = np.pad(images, ((0, 0), border, border, (0, 0)), mode="reflect")
    down, right = generator.integers(0, 2 * shift_px + 1, size=(2, n))
    mirrored: npt.NDArray[np.bool_] = generator.random(n) < 0.5  # noqa: PLR2004 - half of them
    # (n, rows, columns, c, h, w): every position the window can take, as a view.
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    moved = windows[np.arange(n), down, right].transpose(0, 2, 3, 1)
    moved[mirrored] = moved[mirrored, :, ::-1]
    return np.ascontiguousarray(moved)
