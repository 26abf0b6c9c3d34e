"""Learned weights: the kernels of convolutions, and a fully connected first layer's weights per pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from training.data.cifar10 import IMAGE_SHAPE
from training.visualize.layers import Layer, hook_outputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_MOST_UNITS = 64


def convolution_kernels(network: nn.Module) -> dict[str, npt.NDArray[np.float32]]:
    """Return the kernels of every convolution by name, in the order of definition, including those in blocks.

    Each is (filters, channels, height, width).
    """
    return {
        name.removeprefix("layers."): module.weight.detach().numpy()
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    }


def fully_connected_input(layers: Sequence[Layer]) -> Layer | None:
    """Return the first layer with weights if it is fully connected to all pixels, else None."""
    first = next((each for each in layers if not isinstance(each.module, nn.Flatten)), None)
    if first is None or not isinstance(first.module, nn.Linear):
        return None
    return first if first.module.in_features == np.prod(IMAGE_SHAPE) else None


def pixel_weights(network: nn.Module, layer: Layer) -> npt.NDArray[np.float32]:
    """Return the weight of each pixel in each unit of a fully connected first layer: (units, 32, 32, 3).

    At most 64 units. Computed as the gradient of the unit by the pixels, which is right in whatever order the
    network flattens them. Unit: activation per step of a pixel's 0..255.
    """
    pixels = torch.zeros((1, *IMAGE_SHAPE), requires_grad=True)
    outputs: list[torch.Tensor] = []
    with hook_outputs([layer], lambda _, output: outputs.append(output)):
        network(pixels)
    units = outputs[0][0, :_MOST_UNITS]
    weights = [torch.autograd.grad(unit, pixels, retain_graph=True)[0][0] for unit in units]
    return torch.stack(weights).numpy()
