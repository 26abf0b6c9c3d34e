"""From an activation back to the pixels that caused it (Zeiler and Fergus 2013, arXiv:1311.2901).

One activation is kept, all others of the layer are set to zero, and the network is run backwards: max pooling
puts values back to the places that its switches noted on the way up, ReLU rectifies what comes down,
convolution applies its filters transposed. Works for layers that run one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from training.data.cifar10 import IMAGE_SHAPE
from training.visualize.layers import Layer, watching

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

_LINEAR = (nn.Conv2d, nn.AvgPool2d, nn.BatchNorm2d)
_UNDERSTOOD = (*_LINEAR, nn.ReLU, nn.MaxPool2d)
_TOLERANCE = 1e-4


class NotAChainError(Exception):
    """The layers cannot be run backwards; the message says why."""


@dataclass(frozen=True)
class Chain:
    """A normalisation and the layers after it, one after the other."""

    normalise: nn.Module
    modules: list[nn.Module]


def chain_to(network: nn.Module, layers: Sequence[Layer], last: Layer) -> Chain:
    """Return the layers from the pixels to ``last``.

    Raises:
        NotAChainError: they do not run one after the other, or one of them is of an unknown kind.
    """
    until = layers[: [each.name for each in layers].index(last.name) + 1]
    for each in until:
        if not isinstance(each.module, _UNDERSTOOD):
            raise NotAChainError(
                f"{each.name} is a {type(each.module).__name__}, and only chains of convolution, "
                "normalisation, ReLU and pooling are run backwards"
            )
    normalise = getattr(network, "normalise", None)
    if not isinstance(normalise, nn.Module):
        raise NotAChainError("the network does not begin with a layer called normalise")
    chain = Chain(normalise, [each.module for each in until])
    if not _gives_the_same(network, chain, last):
        raise NotAChainError("its layers do not run one after the other")
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
        chain: the layers up to the one whose activations are meant.
        images: uint8 (n, 32, 32, 3).
        channels: (n,), which activation of each image.
        rows: (n,).
        columns: (n,).

    Returns:
        float32 (n, 32, 32, 3): what each pixel contributed, about zero; zero where it had no part.
    """
    value = chain.normalise(torch.from_numpy(images))
    inputs: list[torch.Tensor] = []
    switches: list[torch.Tensor | None] = []
    with torch.no_grad():
        for module in chain.modules:
            inputs.append(value)
            value, switch = _up(module, value)
            switches.append(switch)
        one = torch.arange(len(images)), *(torch.from_numpy(each) for each in (channels, rows, columns))
        signal = torch.zeros_like(value)
        signal[one] = value[one].relu()
    for module, below, switch in zip(
        reversed(chain.modules), reversed(inputs), reversed(switches), strict=True
    ):
        signal = _down(module, signal, below, switch)
    projected: npt.NDArray[np.float32] = signal.permute(0, 2, 3, 1).contiguous().numpy()
    return projected


def _up(module: nn.Module, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run a layer; max pooling notes which place of the map below each maximum came from."""
    if isinstance(module, nn.MaxPool2d):
        pooled, switches = functional.max_pool2d(
            value,
            module.kernel_size,
            module.stride,
            module.padding,
            module.dilation,
            ceil_mode=module.ceil_mode,
            return_indices=True,
        )
        return pooled, switches
    if isinstance(module, nn.ReLU):
        return value.relu(), None  # not in place: the value below is needed on the way down
    return module(value), None


def _down(
    module: nn.Module, signal: torch.Tensor, below: torch.Tensor, switches: torch.Tensor | None
) -> torch.Tensor:
    """Run a layer backwards: ``signal`` has the shape of its output, the result that of ``below``."""
    if isinstance(module, nn.ReLU):
        return signal.relu()
    if switches is not None:
        flat = torch.zeros_like(below, memory_format=torch.contiguous_format).flatten(2)
        return flat.scatter_add_(2, switches.flatten(2), signal.flatten(2)).view(below.shape)
    # The transpose of a linear layer is its gradient, whatever its stride, padding and groups.
    below = below.detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(module(below), below, signal)[0]


def _gives_the_same(network: nn.Module, chain: Chain, last: Layer) -> bool:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, *IMAGE_SHAPE), generator=generator, dtype=torch.uint8)
    seen: list[torch.Tensor] = []
    with watching([last], lambda _, value: seen.append(value.clone())), torch.inference_mode():
        network(images)
        value = chain.normalise(images)
        for module in chain.modules:
            value, _ = _up(module, value)
    return seen[0].shape == value.shape and bool((seen[0] - value).abs().max() <= _TOLERANCE)
