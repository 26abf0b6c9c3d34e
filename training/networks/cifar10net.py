"""CIFAR10Net: three stages of 5x5 convolution, ReLU and 2x2 max pooling, then ten classes.

The architecture of the ConvNetJS CIFAR-10 demo (https://cs.stanford.edu/people/karpathy/convnetjs/
demo/cifar10.html): 22,466 parameters, 3.92 million multiply-adds an image. ``CIFAR10Net`` is what is
exported; ``CIFAR10NetTraining`` computes the same function while batch normalisation helps it learn.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn

from training.networks.normalise import Normalise

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHANNELS = (3, 16, 20, 20)
_KERNEL = 5
_FEATURES = 20 * 4 * 4
_CLASSES = 10


class CIFAR10Net(nn.Module):
    """Images (n, 32, 32, 3) uint8 to logits (n, 10) float32."""

    def __init__(
        self, mean: Sequence[float] = (0.0, 0.0, 0.0), std: Sequence[float] = (1.0, 1.0, 1.0)
    ) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for stage, (wide_in, wide_out) in enumerate(_stages(), start=1):
            layers[f"conv{stage}"] = nn.Conv2d(wide_in, wide_out, _KERNEL, padding=_KERNEL // 2)
            layers[f"relu{stage}"] = nn.ReLU()
            layers[f"pool{stage}"] = nn.MaxPool2d(2)
        layers["flatten"] = nn.Flatten()
        layers["fc"] = nn.Linear(_FEATURES, _CLASSES)
        self.layers = nn.Sequential(layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (n, 10) for images (n, 32, 32, 3) uint8."""
        logits: torch.Tensor = self.layers(self.normalise(images))
        return logits

    @staticmethod
    def for_training(mean: Sequence[float], std: Sequence[float]) -> CIFAR10NetTraining:
        """Make the form that is trained; ``fold`` turns it back."""
        return CIFAR10NetTraining(mean, std)


class CIFAR10NetTraining(nn.Module):
    """CIFAR10Net with batch normalisation after each pooling, which ``fold`` removes exactly.

    Pooling comes before normalisation and ReLU, which then touch a quarter of the values. Maximum
    and ReLU both keep order, and so does a batch normalisation whose scale is positive (here it is
    fixed at one), so max-pool, normalise, ReLU equals normalise, ReLU, max-pool.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for stage, (wide_in, wide_out) in enumerate(_stages(), start=1):
            layers[f"conv{stage}"] = nn.Conv2d(wide_in, wide_out, _KERNEL, padding=_KERNEL // 2, bias=False)
            layers[f"pool{stage}"] = nn.MaxPool2d(2)
            norm = nn.BatchNorm2d(wide_out)
            norm.weight.requires_grad_(False)  # noqa: FBT003 - the scale stays one
            layers[f"norm{stage}"] = norm
            layers[f"relu{stage}"] = nn.ReLU()
        layers["flatten"] = nn.Flatten()
        layers["fc"] = nn.Linear(_FEATURES, _CLASSES)
        self.layers = nn.Sequential(layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (n, 10) for images (n, 32, 32, 3) uint8."""
        logits: torch.Tensor = self.layers(self.normalise(images))
        return logits

    @torch.no_grad()
    def fold(self) -> CIFAR10Net:
        """Return the plain network that computes what this one does in evaluation mode."""
        network = CIFAR10Net()
        network.normalise.load_state_dict(self.normalise.state_dict())
        for stage in range(1, len(_CHANNELS)):
            source = self.layers.get_submodule(f"conv{stage}")
            norm = self.layers.get_submodule(f"norm{stage}")
            target = network.layers.get_submodule(f"conv{stage}")
            _fold_norm(source, norm, target)
        network.layers.get_submodule("fc").load_state_dict(self.layers.get_submodule("fc").state_dict())
        return network.eval()


def _stages() -> pairwise[tuple[int, int]]:
    return pairwise(_CHANNELS)


def _fold_norm(source: nn.Module, norm: nn.Module, target: nn.Module) -> None:
    """Write ``source`` followed by ``norm`` into the weight and bias of ``target``.

    norm(conv(x)) = (w*x - mean) * scale + shift with scale = gamma / sqrt(var + eps); folded in
    float64 and rounded once.
    """
    if not (
        isinstance(source, nn.Conv2d) and isinstance(target, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    ):
        raise TypeError("only a convolution followed by a batch normalisation can be folded")
    state = {name: value.double() for name, value in norm.state_dict().items()}
    scale = state["weight"] / torch.sqrt(state["running_var"] + norm.eps)
    target.weight.copy_(source.weight.double() * scale.view(-1, 1, 1, 1))
    if target.bias is None:
        raise TypeError("the folded convolution needs a bias")
    target.bias.copy_(state["bias"] - state["running_mean"] * scale)
