"""Augmentation of uint8 batches: flips, shifts, cutout and CutMix.

Random choices are made apart from the pixels: the teacher's logits depend on them too, and they are the same
on every device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Views:
    """Flip, shift and cutout of each of ``n`` images."""

    mirrored: npt.NDArray[np.bool_]
    """(n,): whether left and right are exchanged, after the shift."""
    down: npt.NDArray[np.int64]
    """(n,), pixels by which the window moves down, and its content up."""
    right: npt.NDArray[np.int64]
    """(n,), pixels by which the window moves right."""
    hidden: npt.NDArray[np.bool_] | None = None
    """(n, h, w): pixels that are painted over last; None for no cutout."""

    def __getitem__(self, part: slice | npt.NDArray[np.int64]) -> Views:
        hidden = None if self.hidden is None else self.hidden[part]
        return Views(self.mirrored[part], self.down[part], self.right[part], hidden)


@dataclass(frozen=True)
class Patches:
    """CutMix of ``n`` images: the rectangle of each that is taken from another image of the batch."""

    donor: npt.NDArray[np.int64]
    """(n,): position in the batch of the image that the rectangle is taken from."""
    covered: npt.NDArray[np.bool_]
    """(n, h, w): the rectangle; all False in images without one."""

    def __getitem__(self, part: slice) -> Patches:
        return Patches(self.donor[part], self.covered[part])

    @property
    def own(self) -> npt.NDArray[np.float32]:
        """(n,): share of each image's pixels that are its own."""
        shares: npt.NDArray[np.float32] = 1 - self.covered.mean(axis=(1, 2), dtype=np.float32)
        return shares


def choose_views(
    n: int,
    generator: np.random.Generator,
    shift_px: int,
    mirrored: npt.NDArray[np.bool_] | None = None,
) -> Views:
    """Choose shifts of up to ``shift_px`` along each axis, and random flips unless ``mirrored`` is given."""
    down, right = generator.integers(-shift_px, shift_px + 1, size=(2, n))
    if mirrored is None:
        mirrored = generator.random(n) < 0.5  # noqa: PLR2004 - half of them
    return Views(mirrored, down, right)


def choose_cutout(
    n: int, generator: np.random.Generator, hide_px: int, height: int, width: int
) -> npt.NDArray[np.bool_]:
    """Choose a square within each of ``n`` images (cutout: DeVries and Taylor 2017, arXiv:1708.04552).

    ``hide_px`` is its side, at most height and width. Returns (n, height, width), True in the square.
    """
    inside = []
    for length in (height, width):
        first = generator.integers(0, length - hide_px + 1, size=(n, 1))
        where = np.arange(length)
        inside.append((where >= first) & (where < first + hide_px))
    rows, columns = inside
    hidden: npt.NDArray[np.bool_] = rows[:, :, None] & columns[:, None, :]
    return hidden


def choose_cutmix(n: int, generator: np.random.Generator, share: float, height: int, width: int) -> Patches:
    """Choose patches for some of ``n`` images (CutMix: Yun et al. 2019, arXiv:1905.04899).

    An image gets a patch with probability ``share``. The patch has the image's proportions, and its area and
    centre are uniformly distributed; parts outside the image are cut off.
    """
    sides = np.sqrt(generator.random((n, 1))) * (generator.random((n, 1)) < share)
    inside = []
    for length in (height, width):
        centre = generator.random((n, 1)) * length
        inside.append(np.abs(np.arange(length) + 0.5 - centre) < sides * length / 2)
    rows, columns = inside
    return Patches(generator.permutation(n), rows[:, :, None] & columns[:, None, :])


def paste(images: torch.Tensor, donors: torch.Tensor, covered: npt.NDArray[np.bool_]) -> torch.Tensor:
    """Replace the ``covered`` (n, h, w) pixels of images (n, h, w, c) by those of ``donors`` (n, h, w, c)."""
    return torch.where(torch.from_numpy(covered).to(images.device)[..., None], donors, images)


def apply_views(
    images: torch.Tensor, indices: npt.NDArray[np.int64], views: Views, paint: torch.Tensor | None = None
) -> torch.Tensor:
    """Select, shift, mirror and paint over images, in one gather on their device.

    A shift fills the border with a reflection of the image.

    Args:
        images: uint8 (all, h, w, c), contiguous.
        indices: (n,), positions of the selected images.
        views: view of each selected image; shifts are smaller than h and w.
        paint: uint8 (c,), colour of hidden pixels; None is black.

    Returns:
        uint8 (n, h, w, c), contiguous.
    """
    _, height, width, channels = images.shape
    rows = _reflected(views.down[:, None] + np.arange(height), height)
    columns = np.where(views.mirrored[:, None], np.arange(width)[::-1], np.arange(width))
    columns = _reflected(views.right[:, None] + columns, width)
    pixels = (indices[:, None, None] * height + rows[:, :, None]) * width + columns[:, None, :]
    where = torch.from_numpy(pixels.reshape(-1)).to(images.device)
    seen = images.view(-1, channels).index_select(0, where)
    if views.hidden is not None:
        seen[torch.from_numpy(views.hidden.reshape(-1)).to(images.device)] = 0 if paint is None else paint
    return seen.view(len(indices), height, width, channels)


def _reflected(positions: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """Reflect positions into 0 to length - 1; the border pixel is not repeated."""
    last = length - 1
    folded: npt.NDArray[np.int64] = last - np.abs(last - np.abs(positions))
    return folded


def alternating_flips(n: int, generator: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Choose which of ``n`` images are mirrored in even epochs; the others are mirrored in odd epochs.

    Every two epochs show each image both ways (Jordan 2024, arXiv:2404.00498).
    """
    return generator.random(n) < 0.5  # noqa: PLR2004 - half of them
