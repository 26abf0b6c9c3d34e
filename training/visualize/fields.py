"""Receptive fields: which pixels a value of a feature map can see.

Measured, not computed from kernel sizes, so that it holds for blocks and shortcuts too: not-a-number spreads
through convolution, pooling and ReLU to everything that depends on it, whatever the weights are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from training.data.cifar10 import IMAGE_SHAPE
from training.visualize.layers import Layer, watching

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

Box = tuple[int, int, int, int]
"""Top, left, bottom, right in pixels; bottom and right are outside."""


@dataclass(frozen=True)
class Field:
    """The pixels behind each place of a layer's maps."""

    rows: npt.NDArray[np.int64]
    """(h, 2): first pixel row, and the one after the last, of each row of the map."""
    columns: npt.NDArray[np.int64]
    """(w, 2)."""

    def box(self, row: int, column: int) -> Box:
        """Return the pixels that this place of the map depends on; none outside can change it."""
        (top, bottom), (left, right) = self.rows[row].tolist(), self.columns[column].tolist()
        return top, left, bottom, right

    @property
    def size(self) -> tuple[int, int]:
        """Largest height and width of a box, borders cut off."""
        height, width = ((each[:, 1] - each[:, 0]).max() for each in (self.rows, self.columns))
        return int(height), int(width)


def receptive_field(network: nn.Module, layer: Layer) -> Field:
    """Measure which rows and columns of pixels reach each row and column of a layer's maps."""
    height, width, _ = IMAGE_SHAPE
    return Field(_reach(network, layer, height, axis=1), _reach(network, layer, width, axis=2))


def _reach(network: nn.Module, layer: Layer, lines: int, axis: int) -> npt.NDArray[np.int64]:
    """Send an image a line, whose pixels in that line (axis 1: row, 2: column) are not numbers."""
    images = torch.zeros((lines, *IMAGE_SHAPE))
    for line in range(lines):
        images[line].select(axis - 1, line).fill_(float("nan"))
    seen: list[torch.Tensor] = []
    with watching([layer], lambda _, value: seen.append(value.isnan())), torch.inference_mode():
        network(images)
    other = 3 if axis == 1 else 2
    reaches = seen[0].any(dim=1).any(dim=other - 1).numpy()  # (lines, places along the axis)
    first = reaches.argmax(axis=0)
    after = lines - reaches[::-1].argmax(axis=0)
    field: npt.NDArray[np.int64] = np.stack([first, after], axis=1).astype(np.int64)
    return field
