"""Small networks of every kind: a chain, blocks, a fully connected one, a recurrent one."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import nn

from training.networks.normalise import Normalise

if TYPE_CHECKING:
    from collections.abc import Sequence


class Chain(nn.Module):
    """A chain of layers; pixels are only divided by 255."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.layers = nn.Sequential(OrderedDict(layers))
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(self.normalise(images))
        return logits


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return torch.relu(value + self.conv2(torch.relu(self.norm(self.conv1(value)))))


class LastState(nn.Module):
    """Returns the last state of its GRU only."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(96, 12, batch_first=True)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.gru(rows)[0]
        return states[:, -1]


class Recurrent(nn.Module):
    """Reads the image one row per step."""

    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.read = LastState()
        self.fc = nn.Linear(12, 10)
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = self.normalise(images).permute(0, 2, 1, 3).flatten(2)
        logits: torch.Tensor = self.fc(self.read(rows))
        return logits


def convolution(weight: Sequence[object], *, padding: int = 0) -> nn.Conv2d:
    """Make a convolution of these weights (filters, channels, h, w), without bias."""
    values = torch.tensor(weight, dtype=torch.float32)
    filters, channels, height, width = values.shape
    layer = nn.Conv2d(channels, filters, (height, width), padding=padding, bias=False)
    layer.weight = nn.Parameter(values)
    return layer


def convolution_of(network: nn.Module, name: str) -> nn.Conv2d:
    """Return the convolution of that name."""
    layer = network.get_submodule(f"layers.{name}")
    assert isinstance(layer, nn.Conv2d)
    return layer


def small_chain() -> Chain:
    torch.manual_seed(0)
    return Chain(
        conv1=nn.Conv2d(3, 4, 5, padding=2),
        relu1=nn.ReLU(inplace=True),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(4, 5, 3, padding=1),
        relu2=nn.ReLU(),
        pool2=nn.AvgPool2d(2),
        flatten=nn.Flatten(),
        fc=nn.Linear(5 * 64, 10),
    )


def small_resnet() -> Chain:
    torch.manual_seed(0)
    return Chain(
        stem=nn.Conv2d(3, 4, 3, padding=1),
        relu=nn.ReLU(),
        block1=Block(4),
        pool=nn.MaxPool2d(2),
        group=nn.Sequential(OrderedDict(first=Block(4), second=Block(4))),
        mean=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(4, 10),
    )


def small_matrix() -> Chain:
    torch.manual_seed(0)
    return Chain(flatten=nn.Flatten(), fc1=nn.Linear(3072, 7), relu1=nn.ReLU(), fc=nn.Linear(7, 10))
