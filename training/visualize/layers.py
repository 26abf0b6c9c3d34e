"""The layers of any network in the order they run, and their outputs.

A layer is a child of the network's ``layers`` (or of the network, if it has none); containers are opened, and
blocks are kept whole. The network maps uint8 or float pixels (n, 32, 32, 3) to logits.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from training.data.cifar10 import IMAGE_SHAPE
from training.errors import LayerError
from training.networks.normalise import Normalise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

_MAP_DIMENSIONS = 3
_POOLING = (nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class Layer:
    """One layer and the shape of its output for one image."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    """(channels, height, width), (steps, features) or (features,)."""

    @property
    def has_map(self) -> bool:
        """Whether its output is feature maps: channels of rows and columns."""
        return len(self.shape) == _MAP_DIMENSIONS

    @property
    def is_pooling(self) -> bool:
        """Whether it is mean or maximum pooling that leaves maps larger than one value."""
        return isinstance(self.module, _POOLING) and self.has_map and self.shape[1] > 1


def layers_of(network: nn.Module) -> list[Layer]:
    """List the layers that run, found by sending a black image through the network."""
    modules = dict(_parts(network, ""))
    shapes: dict[str, tuple[int, ...]] = {}
    with (
        _hooks(modules, lambda name, output: shapes.setdefault(name, tuple(output.shape[1:]))),
        torch.inference_mode(),
    ):
        network(torch.zeros((1, *IMAGE_SHAPE), dtype=torch.uint8))
    return [Layer(name, modules[name], shape) for name, shape in shapes.items()]


def hook_outputs(
    layers: Sequence[Layer], on_output: Callable[[str, torch.Tensor], object]
) -> contextlib.AbstractContextManager[None]:
    """Within the block, call ``on_output`` with a layer's name and output each time it runs.

    The output is not a copy, and a later layer may work in place.
    """
    return _hooks({each.name: each.module for each in layers}, on_output)


def feature_maps(
    network: nn.Module, layers: Sequence[Layer], image: npt.NDArray[np.uint8]
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the output of each layer for one image.

    Args:
        network: in evaluation mode.
        layers: layers of the network.
        image: uint8 (32, 32, 3).

    Returns:
        By layer: float32 (channels, height, width), (steps, features) or (features,).
    """
    maps: dict[str, npt.NDArray[np.float32]] = {}

    def copy(name: str, output: torch.Tensor) -> None:
        maps.setdefault(name, output[0].float().contiguous().numpy().copy())

    with hook_outputs(layers, copy), torch.inference_mode():
        network(torch.from_numpy(image[None]))
    return maps


def layer_named(layers: Sequence[Layer], name: str, network: str) -> Layer:
    """Return the layer of that name. Raises LayerError if it is missing or has no feature maps."""
    with_maps = {each.name: each for each in layers if each.has_map}
    if name not in with_maps:
        raise LayerError(name, network, [each.name for each in layers], list(with_maps))
    return with_maps[name]


def last_pooling_layers(layers: Sequence[Layer], most: int) -> list[Layer]:
    """Return the last ``most`` pooling layers; without any, the last layer with feature maps."""
    pooling = [each for each in layers if each.is_pooling]
    return pooling[-most:] or [each for each in layers if each.has_map][-1:]


def deepest_convolution(network: nn.Module, layers: Sequence[Layer]) -> Layer | None:
    """Return the last convolution of the network; None if there is none, or it is inside a block."""
    convolutions = [each for each in network.modules() if isinstance(each, nn.Conv2d)]
    return next((each for each in layers if convolutions and each.module is convolutions[-1]), None)


def _parts(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        # Recurrent layers are opened too: their output has all steps, not just the last one.
        has_recurrent = any(isinstance(each, nn.RNNBase) for each in child.children())
        if isinstance(child, (nn.Sequential, nn.ModuleList)) or has_recurrent:
            yield from _parts(child, "" if not path and name == "layers" else f"{path}{name}.")
        elif not isinstance(child, Normalise):
            yield f"{path}{name}", child


@contextlib.contextmanager
def _hooks(modules: dict[str, nn.Module], on_output: Callable[[str, torch.Tensor], object]) -> Iterator[None]:
    def hook(name: str, _module: nn.Module, _inputs: object, output: object) -> None:
        value = output[0] if isinstance(output, tuple) else output  # recurrent: (output, state)
        if isinstance(value, torch.Tensor):
            on_output(name, value)

    handles = [module.register_forward_hook(partial(hook, name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
