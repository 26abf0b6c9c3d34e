"""The layer table of a PyTorch network: shapes, parameters, multiply-adds and receptive fields."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from training.data.cifar10 import IMAGE_SHAPE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from training.networks import Network

_SEE_ALL = (nn.Linear, nn.LSTM, nn.AdaptiveMaxPool2d)


@dataclass(frozen=True)
class LayerRow:
    """One layer; sizes in pixels, square kernels."""

    name: str
    output: tuple[int, ...]
    """(height, width, channels), or (features,)."""
    kernel: int | None
    stride: int | None
    padding: int | None
    parameters: int
    multiply_adds: int
    """For one image; bias additions and comparisons are not counted."""
    receptive_field: int | None
    """Side of the square of input pixels that one output value depends on; None for the whole image."""


def layer_rows(network: Network) -> list[LayerRow]:
    """Measure every layer by running a network on one black image.

    The receptive field follows Araujo et al. 2019 (https://distill.pub/2019/computing-receptive-fields/):
    each layer widens it by (kernel - 1) times the product of the strides before it. A block has that of its
    longest path.
    """
    rows, field, jump = [], 1, 1
    value = network.normalise(torch.zeros((1, *IMAGE_SHAPE), dtype=torch.uint8))
    sees_all = False
    with torch.inference_mode(), _counting(network.layers) as counted:
        for name, layer in network.layers.named_children():
            before = sum(counted)
            value = layer(value)
            for part in layer.modules():
                kernel, stride, _ = _geometry(part)
                if kernel is not None and stride is not None:
                    field, jump = field + (kernel - 1) * jump, jump * stride
                sees_all = sees_all or isinstance(part, _SEE_ALL)
            kernel, stride, padding = _geometry(layer)
            rows.append(
                LayerRow(
                    name=name,
                    output=_height_width_channels(value),
                    kernel=kernel,
                    stride=stride,
                    padding=padding,
                    parameters=sum(parameter.numel() for parameter in layer.parameters()),
                    multiply_adds=sum(counted) - before,
                    receptive_field=None if sees_all else field,
                )
            )
    return rows


@contextlib.contextmanager
def _counting(layers: nn.Module) -> Iterator[list[int]]:
    """Collect the multiply-adds of every layer that runs, at any depth."""
    counted: list[int] = []

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        counted.append(_multiply_adds(layer, inputs[0], output))

    hooks = [part.register_forward_hook(count) for part in layers.modules()]
    try:
        yield counted
    finally:
        for hook in hooks:
            hook.remove()


def _geometry(layer: nn.Module) -> tuple[int | None, int | None, int | None]:
    if isinstance(layer, nn.Conv2d):
        return int(layer.kernel_size[0]), int(layer.stride[0]), int(layer.padding[0])
    if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        size = (layer.kernel_size, layer.stride, layer.padding)
        kernel, stride, padding = (value if isinstance(value, int) else value[0] for value in size)
        return kernel, stride, padding
    return None, None, None


def _multiply_adds(layer: nn.Module, value: torch.Tensor, output: torch.Tensor) -> int:
    """Count for one image; 0 for a container, whose parts are counted."""
    if isinstance(layer, nn.Conv2d):
        return output[0].numel() * layer.weight[0].numel()
    if isinstance(layer, nn.Linear):
        return layer.weight.numel()
    if isinstance(layer, nn.LSTM):
        steps = value.shape[1]
        return steps * sum(weight.numel() for weight in layer.parameters() if weight.ndim > 1)
    return 0


def _height_width_channels(value: torch.Tensor) -> tuple[int, ...]:
    shape = tuple(value.shape[1:])
    spatial = 3
    return (*shape[1:], shape[0]) if len(shape) == spatial else shape
