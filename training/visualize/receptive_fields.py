"""Receptive fields: the pixels that a value of a feature map depends on.

They are measured, not computed from kernel sizes, so that blocks and shortcuts are handled too: NaN spreads
through convolution, pooling and ReLU to every value that depends on it, whatever the weights are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from training.data.cifar10 import IMAGE_SHAPE
from training.visualize.layers import Layer, hook_outputs

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

PixelBox = tuple[int, int, int, int]
"""Top, left, bottom, right in pixels; bottom and right are exclusive."""


@dataclass(frozen=True)
class ReceptiveFields:
    """The receptive field of each position of a layer's feature maps."""

    rows: npt.NDArray[np.int64]
    """(h, 2): first pixel row, and the one after the last, for each row of the map."""
    columns: npt.NDArray[np.int64]
    """(w, 2)."""

    def box(self, row: int, column: int) -> PixelBox:
        """Return the pixels that this position of the map depends on; no pixel outside can change it."""
        (top, bottom), (left, right) = self.rows[row].tolist(), self.columns[column].tolist()
        return top, left, bottom, right

    @property
    def size(self) -> tuple[int, int]:
        """Largest height and width of a box; boxes at the border are cut off."""
        height, width = ((each[:, 1] - each[:, 0]).max() for each in (self.rows, self.columns))
        return int(height), int(width)


def receptive_fields(network: nn.Module, layer: Layer) -> ReceptiveFields:
    """Measure which rows and columns of pixels reach each row and column of a layer's maps."""
    return ReceptiveFields(_ranges(network, layer, axis=1), _ranges(network, layer, axis=2))


def _ranges(network: nn.Module, layer: Layer, axis: int) -> npt.NDArray[np.int64]:
    """Run one image per line of pixels (axis 1: row, 2: column), in which that line is NaN."""
    lines = IMAGE_SHAPE[axis - 1]
    images = torch.zeros((lines, *IMAGE_SHAPE))
    for line in range(lines):
        images[line].select(axis - 1, line).fill_(float("nan"))
    outputs: list[torch.Tensor] = []
    with hook_outputs([layer], lambda _, output: outputs.append(output.isnan())), torch.inference_mode():
        network(images)
    reaches = outputs[0].any(dim=1).any(dim=3 - axis).numpy()  # (lines, places along the axis)
    first = reaches.argmax(axis=0)
    after = lines - reaches[::-1].argmax(axis=0)
    return np.stack([first, after], axis=1)
