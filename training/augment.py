"""Flips and shifts of uint8 batches: which ones are chosen, and what they make of the pixels.

Choosing is apart from doing, since a teacher has to answer for what its student is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Views:
    """How each of ``n`` images is looked at."""

    mirrored: npt.NDArray[np.bool_]
    """(n,): left and right are exchanged, after the shift."""
    down: npt.NDArray[np.int64]
    """(n,), pixels: the window moves down, the picture in it up."""
    right: npt.NDArray[np.int64]
    """(n,), pixels."""


def choose_views(
    n: int,
    generator: np.random.Generator,
    shift_px: int,
    mirrored: npt.NDArray[np.bool_] | None = None,
) -> Views:
    """Choose a view of each of ``n`` images.

    Args:
        n: images.
        generator: source of the choices; its state decides them.
        shift_px: largest shift in pixels along each axis, 0 or more.
        mirrored: which are mirrored, where that is not left to chance.
    """
    down, right = generator.integers(-shift_px, shift_px + 1, size=(2, n))
    if mirrored is None:
        mirrored = generator.random(n) < 0.5  # noqa: PLR2004 - half of them
    return Views(mirrored, down, right)


def look(images: npt.NDArray[np.uint8], views: Views, shift_px: int) -> npt.NDArray[np.uint8]:
    """Move and mirror images.

    Args:
        images: uint8 (n, h, w, c); unchanged.
        views: what to do with each.
        shift_px: at least the largest shift in ``views``; what comes in at a border is a reflection.

    Returns:
        uint8 (n, h, w, c), contiguous.
    """
    n, height, width, _ = images.shape
    border = (shift_px, shift_px)
    padded = np.pad(images, ((0, 0), border, border, (0, 0)), mode="reflect")
    # (n, rows, columns, c, h, w): every position the window can take, as a view.
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    moved = windows[np.arange(n), views.down + shift_px, views.right + shift_px].transpose(0, 2, 3, 1)
    moved[views.mirrored] = moved[views.mirrored, :, ::-1]
    return np.ascontiguousarray(moved)


def alternating(n: int, generator: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Choose which of ``n`` images are mirrored in even epochs; in odd ones the others are.

    Every two epochs show each image both ways (Jordan 2024, arXiv:2404.00498), where chance shows some the
    same way many times.
    """
    return generator.random(n) < 0.5  # noqa: PLR2004 - half of them
