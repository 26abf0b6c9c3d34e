"""Deconvolution: project an activation back to the pixels that caused it.

After Zeiler and Fergus 2013 (arXiv:1311.2901): all other activations of the layer are set to zero, and the
network runs backwards. Max pooling returns values to the positions of the maxima (its switches), ReLU
rectifies the backward signal, and convolution applies its filters transposed. The layers must be a chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from training.data.cifar10 import IMAGE_SHAPE
from training.visualize.layers import Layer, hook_outputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

_LINEAR = (nn.Conv2d, nn.AvgPool2d, nn.BatchNorm2d)
_SUPPORTED = (*_LINEAR, nn.ReLU, nn.MaxPool2d)
_TOLERANCE = 1e-4


class NotAChainError(Exception):
    """The layers cannot run backwards; the message says why."""


@dataclass(frozen=True)
class Chain:
    """A normalisation and the layers that follow it, each reading the output of the one before."""

    normalise: nn.Module
    modules: list[nn.Module]


def chain_to(network: nn.Module, layers: Sequence[Layer], last: Layer) -> Chain:
    """Return the layers from the pixels to ``last``.

    Raises:
        NotAChainError: they are not a chain, or one of them is of an unsupported kind.
    """
    until = layers[: [each.name for each in layers].index(last.name) + 1]
    for each in until:
        if not isinstance(each.module, _SUPPORTED):
            raise NotAChainError(
                f"{each.name} is a {type(each.module).__name__}, and only chains of convolution, "
                "normalisation, ReLU and pooling can run backwards"
            )
    normalise = getattr(network, "normalise", None)
    if not isinstance(normalise, nn.Module):
        raise NotAChainError("the network does not begin with a layer called normalise")
    chain = Chain(normalise, [each.module for each in until])
    if not _matches_network(network, chain, last):
        raise NotAChainError("its layers are not a chain")
    return chain


def project(
    chain: Chain,
    images: npt.NDArray[np.uint8],
    channels: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """Project one activation of each image back to its pixels.

    Args:
        chain: the layers up to the one that holds the activations.
        images: uint8 (n, 32, 32, 3).
        channels: (n,), channel of each image's activation.
        rows: (n,), its row in the feature map.
        columns: (n,), its column.

    Returns:
        float32 (n, 32, 32, 3): contribution of each pixel, of either sign; zero where it had none.
    """
    value = chain.normalise(torch.from_numpy(images))
    inputs: list[torch.Tensor] = []
    switches: list[torch.Tensor | None] = []
    with torch.no_grad():
        for module in chain.modules:
            inputs.append(value)
            value, switch = _forward(module, value)
            switches.append(switch)
        one = torch.arange(len(images)), *(torch.from_numpy(each) for each in (channels, rows, columns))
        signal = torch.zeros_like(value)
        signal[one] = value[one].relu()
    for module, below, switch in zip(
        reversed(chain.modules), reversed(inputs), reversed(switches), strict=True
    ):
        signal = _backward(module, signal, below, switch)
    projected: npt.NDArray[np.float32] = signal.permute(0, 2, 3, 1).contiguous().numpy()
    return projected


def _forward(module: nn.Module, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run a layer; max pooling also returns the position of each maximum in its input."""
    if isinstance(module, nn.MaxPool2d):
        window = module.kernel_size, module.stride, module.padding, module.dilation
        return functional.max_pool2d(value, *window, ceil_mode=module.ceil_mode, return_indices=True)
    if isinstance(module, nn.ReLU):
        return value.relu(), None  # not in place: the backward pass needs the input
    return module(value), None


def _backward(
    module: nn.Module, signal: torch.Tensor, below: torch.Tensor, switches: torch.Tensor | None
) -> torch.Tensor:
    """Run a layer backwards: from a signal of its output's shape to one of its input's, ``below``."""
    if isinstance(module, nn.ReLU):
        return signal.relu()
    if switches is not None:
        flat = torch.zeros_like(below, memory_format=torch.contiguous_format).flatten(2)
        return flat.scatter_add_(2, switches.flatten(2), signal.flatten(2)).view(below.shape)
    # The transpose of a linear layer is its gradient, whatever its stride, padding and groups.
    below = below.detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(module(below), below, signal)[0]


def _matches_network(network: nn.Module, chain: Chain, last: Layer) -> bool:
    """Whether the chain gives the same output as ``last`` in the network, for two random images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, *IMAGE_SHAPE), generator=generator, dtype=torch.uint8)
    outputs: list[torch.Tensor] = []
    with hook_outputs([last], lambda _, output: outputs.append(output.clone())), torch.inference_mode():
        network(images)
        value = chain.normalise(images)
        for module in chain.modules:
            value, _ = _forward(module, value)
    return outputs[0].shape == value.shape and bool((outputs[0] - value).abs().max() <= _TOLERANCE)
