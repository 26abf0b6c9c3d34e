"""The layers of any network, in the order they run, and what comes out of them.

A layer is a child of ``layers`` (or of the network, where it has none), containers opened, blocks left
whole. In: a network from uint8 or float pixels (n, 32, 32, 3) to logits. Knows nothing of any one
network.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from training.data.cifar10 import IMAGE_SHAPE
from training.errors import LayerError
from training.networks.normalise import Normalise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_MAP_DIMENSIONS = 3
_POOLING = (nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class Layer:
    """One layer and the shape of what it gives for one image."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    """(channels, height, width), (steps, features) or (features,)."""

    @property
    def has_map(self) -> bool:
        """Whether it gives pictures: channels of rows and columns."""
        return len(self.shape) == _MAP_DIMENSIONS

    @property
    def is_pooling(self) -> bool:
        """Whether it makes maps smaller by mean or maximum, and leaves more than a point of them."""
        return isinstance(self.module, _POOLING) and self.has_map and self.shape[1] > 1


def layers_of(network: nn.Module) -> list[Layer]:
    """List the layers that an image meets, measured by sending a black one through."""
    found: list[Layer] = []
    modules = dict(_parts(network, ""))

    def note(name: str, value: torch.Tensor) -> None:
        if all(each.name != name for each in found):
            found.append(Layer(name, modules[name], tuple(value.shape[1:])))

    with _hooks(modules, note), torch.inference_mode():
        network(torch.zeros((1, *IMAGE_SHAPE), dtype=torch.uint8))
    return found


@contextlib.contextmanager
def watching(layers: Sequence[Layer], note: Callable[[str, torch.Tensor], None]) -> Iterator[None]:
    """Have ``note`` told each layer's name and output whenever an image passes, until the block ends."""
    with _hooks({each.name: each.module for each in layers}, note):
        yield


def layer_called(layers: Sequence[Layer], name: str, network: str) -> Layer:
    """Return the layer of that name that has feature maps. Raises LayerError, which lists them."""
    with_maps = [each.name for each in layers if each.has_map]
    if name not in with_maps:
        raise LayerError(name, network, [each.name for each in layers], with_maps)
    return next(each for each in layers if each.name == name)


def last_pooling(layers: Sequence[Layer]) -> Layer | None:
    """Return the last pooling layer, or the last layer that has maps; None where none has."""
    with_maps = [each for each in layers if each.has_map]
    pooling = [each for each in with_maps if each.is_pooling]
    found = pooling or with_maps
    return found[-1] if found else None


def deepest_convolution(network: nn.Module, layers: Sequence[Layer]) -> Layer | None:
    """Return the last convolution of all; None where there is none, or it is within a block."""
    convolutions = [each for each in network.modules() if isinstance(each, nn.Conv2d)]
    return next((each for each in layers if convolutions and each.module is convolutions[-1]), None)


def _parts(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if isinstance(child, (nn.Sequential, nn.ModuleList)) or _is_recurrent(child):
            yield from _parts(child, "" if not path and name == "layers" else f"{path}{name}.")
        elif not isinstance(child, Normalise):
            yield f"{path}{name}", child


def _is_recurrent(module: nn.Module) -> bool:
    """Whether a module holds a recurrent layer, whose steps are worth a look, not only its last one."""
    return any(isinstance(child, nn.RNNBase) for child in module.children())


@contextlib.contextmanager
def _hooks(modules: dict[str, nn.Module], note: Callable[[str, torch.Tensor], None]) -> Iterator[None]:
    def hook_of(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            value = (
                output[0] if isinstance(output, tuple) else output
            )  # a recurrent layer gives its state too
            if isinstance(value, torch.Tensor):
                note(name, value)

        return hook

    handles = [module.register_forward_hook(hook_of(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
