"""What a network weighs: kernels of convolutions, and of a first matrix its weights pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from training.data.cifar10 import IMAGE_SHAPE
from training.visualize.layers import Layer, watching

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_MOST_UNITS = 64
_COLOURS = 3


@dataclass(frozen=True)
class Kernels:
    """The kernels of one convolution."""

    name: str
    weights: npt.NDArray[np.float32]
    """(filters, channels, height, width)."""

    @property
    def sees_colours(self) -> bool:
        """Whether it reads red, green and blue, and so can be shown in colour."""
        channels: int = self.weights.shape[1]
        return channels == _COLOURS


def kernels(network: nn.Module) -> list[Kernels]:
    """Return the kernels of every convolution, those within blocks too, in the order of definition."""
    return [
        Kernels(name.removeprefix("layers."), module.weight.detach().numpy())
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    ]


def first_matrix(layers: Sequence[Layer]) -> Layer | None:
    """Return the first layer with weights, if it is a matrix over the pixels; None otherwise."""
    for layer in layers:
        if isinstance(layer.module, nn.Linear):
            return layer if layer.module.in_features == np.prod(IMAGE_SHAPE) else None
        if not isinstance(layer.module, nn.Flatten):
            return None
    return None


def pixel_weights(network: nn.Module, layer: Layer) -> npt.NDArray[np.float32]:
    """Return how much each unit of a first matrix weighs each pixel: (units, 32, 32, 3), at most 64 units.

    Read off as the gradient of the unit by the pixels, which for a matrix is the weights, in whatever order
    the network lays the pixels out. Unit: activation per step of a pixel's 256.
    """
    pixels = torch.zeros((1, *IMAGE_SHAPE), requires_grad=True)
    seen: list[torch.Tensor] = []
    with watching([layer], lambda _, value: seen.append(value)):
        network(pixels)
    units = seen[0][0, :_MOST_UNITS]
    weights = [torch.autograd.grad(unit, pixels, retain_graph=True)[0][0] for unit in units]
    return torch.stack(weights).numpy()
