"""Flips, shifts, hidden squares and patches of uint8 batches: the choice, and what it makes of the pixels.

Choosing is apart from doing: a teacher has to answer for what its student is shown, and the choice is the
same on whatever device the pixels move.
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
    """How each of ``n`` images is looked at."""

    mirrored: npt.NDArray[np.bool_]
    """(n,): left and right are exchanged, after the shift."""
    down: npt.NDArray[np.int64]
    """(n,), pixels: the window moves down, the picture in it up."""
    right: npt.NDArray[np.int64]
    """(n,), pixels."""
    hidden: npt.NDArray[np.bool_] | None = None
    """(n, h, w): pixels that are painted over at last; None hides nothing."""

    def __getitem__(self, part: slice | npt.NDArray[np.int64]) -> Views:
        hidden = None if self.hidden is None else self.hidden[part]
        return Views(self.mirrored[part], self.down[part], self.right[part], hidden)


@dataclass(frozen=True)
class Patches:
    """Which rectangle of each of ``n`` images is covered by that of another image of the batch."""

    lender: npt.NDArray[np.int64]
    """(n,): position in the batch of the image that the rectangle is cut from."""
    covered: npt.NDArray[np.bool_]
    """(n, h, w): the rectangle, nowhere in images that stay whole."""

    def __getitem__(self, part: slice) -> Patches:
        return Patches(self.lender[part], self.covered[part])

    @property
    def own(self) -> npt.NDArray[np.float32]:
        """(n,): share of each image's pixels that are not covered."""
        shares: npt.NDArray[np.float32] = 1 - self.covered.mean(axis=(1, 2), dtype=np.float32)
        return shares


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


def choose_hidden(
    n: int, generator: np.random.Generator, hide_px: int, height: int, width: int
) -> npt.NDArray[np.bool_]:
    """Choose a square in each of ``n`` images (cutout: DeVries and Taylor 2017, arXiv:1708.04552).

    Args:
        n: images.
        generator: source of the choices; its state decides them.
        hide_px: side of the square, at most ``height`` and ``width``; all of it lies within the image.
        height: of an image, pixels.
        width: of an image, pixels.

    Returns:
        (n, height, width), True where the square is.
    """
    inside = []
    for length in (height, width):
        first = generator.integers(0, length - hide_px + 1, size=(n, 1))
        where = np.arange(length)
        inside.append((where >= first) & (where < first + hide_px))
    rows, columns = inside
    hidden: npt.NDArray[np.bool_] = rows[:, :, None] & columns[:, None, :]
    return hidden


def choose_patches(n: int, generator: np.random.Generator, share: float, height: int, width: int) -> Patches:
    """Choose patches for some of ``n`` images (CutMix: Yun et al. 2019, arXiv:1905.04899).

    A patch has the image's proportions, covers a share that is uniform between nothing and all, and has its
    centre anywhere; what would lie outside of the image is cut off.

    Args:
        n: images.
        generator: source of the choices; its state decides them.
        share: probability with which an image gets a patch, 0 to 1.
        height: of an image, pixels.
        width: of an image, pixels.
    """
    sides = np.sqrt(generator.random((n, 1))) * (generator.random((n, 1)) < share)
    inside = []
    for length in (height, width):
        centre = generator.random((n, 1)) * length
        inside.append(np.abs(np.arange(length) + 0.5 - centre) < sides * length / 2)
    rows, columns = inside
    return Patches(generator.permutation(n), rows[:, :, None] & columns[:, None, :])


def paste(images: torch.Tensor, lent: torch.Tensor, covered: npt.NDArray[np.bool_]) -> torch.Tensor:
    """Cover a part of each image by the same part of another.

    Args:
        images: (n, h, w, c).
        lent: (n, h, w, c), the images that patches are cut from.
        covered: (n, h, w), where they go.

    Returns:
        (n, h, w, c), a new tensor.
    """
    return torch.where(torch.from_numpy(covered).to(images.device)[..., None], lent, images)


def look(
    images: torch.Tensor, indices: npt.NDArray[np.int64], views: Views, paint: torch.Tensor | None = None
) -> torch.Tensor:
    """Move, mirror and partly hide some of the images.

    One gather of pixels, on the device where the images lie; what comes in at a border is a reflection.

    Args:
        images: uint8 (all, h, w, c), contiguous.
        indices: (n,), which of them.
        views: how to look at each of the ``n``; shifts are smaller than h and w.
        paint: uint8 (c,), what hidden pixels become; black if None.

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
    """Fold positions back into 0 to length - 1; the border itself is not repeated."""
    last = length - 1
    folded: npt.NDArray[np.int64] = last - np.abs(last - np.abs(positions))
    return folded


def alternating(n: int, generator: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Choose which of ``n`` images are mirrored in even epochs; in odd ones the others are.

    Every two epochs show each image both ways (Jordan 2024, arXiv:2404.00498), where chance shows some the
    same way many times.
    """
    return generator.random(n) < 0.5  # noqa: PLR2004 - half of them
