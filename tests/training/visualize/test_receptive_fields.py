"""A value of a feature map depends on exactly the pixels of its receptive field."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.visualize.nets import Chain, small_chain, small_resnet
from training.networks import CIFAR10Net
from training.visualize.layers import hook_outputs, layer_named, layers_of
from training.visualize.receptive_fields import receptive_fields

if TYPE_CHECKING:
    from collections.abc import Callable


def _strided() -> nn.Module:
    return Chain(
        conv1=nn.Conv2d(3, 4, 3, stride=2, padding=1),
        conv2=nn.Conv2d(4, 4, 3, dilation=2),
        pool=nn.MaxPool2d(3, stride=2, padding=1),
        flatten=nn.Flatten(),
        fc=nn.Linear(144, 10),
    )


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (small_chain, "conv1"),
        (small_chain, "pool1"),
        (small_chain, "conv2"),
        (small_chain, "pool2"),
        (small_resnet, "block1"),
        (small_resnet, "group.first"),
        (_strided, "pool"),
    ],
)
def test_only_pixels_inside_the_box_change_a_value(make: Callable[[], nn.Module], name: str) -> None:
    torch.manual_seed(0)
    network = make().eval()
    for each in network.modules():  # so that every filter is active and no ReLU hides a pixel
        if isinstance(each, nn.Conv2d):
            nn.init.uniform_(each.weight, 0.5, 1.0)
    layer = layer_named(layers_of(network), name, "net")
    field = receptive_fields(network, layer)
    random = np.random.default_rng(0)

    def value(pixels: np.ndarray, row: int, column: int) -> torch.Tensor:
        seen: list[torch.Tensor] = []
        with hook_outputs([layer], lambda _, each: seen.append(each.clone())), torch.inference_mode():
            network(torch.from_numpy(pixels[None]))
        return seen[0][0, :, row, column]

    _, height, width = layer.shape
    for row, column in ((0, 0), (height // 2, width // 3), (height - 1, width - 1)):
        top, left, bottom, right = field.box(row, column)
        image = random.integers(50, 100, (32, 32, 3)).astype(np.uint8)
        outside = random.integers(50, 100, (32, 32, 3)).astype(np.uint8)
        outside[top:bottom, left:right] = image[top:bottom, left:right]

        before = value(image, row, column)

        assert torch.allclose(value(outside, row, column), before, rtol=1e-6, atol=0)
        for inner in (
            (top, left, top + 1, right),
            (bottom - 1, left, bottom, right),
            (top, left, bottom, left + 1),
            (top, right - 1, bottom, right),
        ):
            changed = image.copy()
            changed[inner[0] : inner[2], inner[1] : inner[3]] = 255
            assert not torch.allclose(value(changed, row, column), before, rtol=1e-5)


def test_the_fields_of_cifar10net_are_those_of_the_design() -> None:
    network = CIFAR10Net().eval()
    layers = layers_of(network)

    def field_of(name: str) -> tuple[int, int]:
        return receptive_fields(network, layer_named(layers, name, "net")).size

    assert {name: field_of(name) for name in ("conv1", "pool1", "conv2", "pool2")} == {
        "conv1": (5, 5),
        "pool1": (6, 6),
        "conv2": (14, 14),
        "pool2": (16, 16),
    }
    box = receptive_fields(network, layer_named(layers, "pool1", "net")).box(3, 0)
    assert box == (4, 0, 10, 4)  # cut at the left border
