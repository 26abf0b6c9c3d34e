"""CIFAR10Net, the architecture of the ConvNetJS CIFAR-10 demo, and MeanPool, the same with mean pooling.

22,466 parameters, 3.92 million multiply-adds for an image. See
https://cs.stanford.edu/people/karpathy/convnetjs/demo/cifar10.html.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import TYPE_CHECKING

from torch import nn

from training.networks.kernels import KernelConv2d, fold_layers
from training.networks.network import CLASSES, Network, Trainable

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHANNELS = (3, 16, 20, 20)
_KERNEL = 5
_FEATURES = 20 * 4 * 4


class CIFAR10Net(Network):
    """Images (n, 32, 32, 3) uint8 to logits (n, 10) float32."""

    description = "Three stages of 5x5 convolution, ReLU and 2x2 max pooling, then ten classes."

    pooling: type[nn.MaxPool2d | nn.AvgPool2d] = nn.MaxPool2d

    @classmethod
    def _make_layers(cls) -> OrderedDict[str, nn.Module]:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for stage, (wide_in, wide_out) in enumerate(pairwise(_CHANNELS), start=1):
            layers[f"conv{stage}"] = nn.Conv2d(wide_in, wide_out, _KERNEL, padding=_KERNEL // 2)
            layers[f"relu{stage}"] = nn.ReLU()
            layers[f"pool{stage}"] = cls.pooling(2)
        layers["flatten"] = nn.Flatten()
        layers["fc"] = nn.Linear(_FEATURES, CLASSES)
        return layers

    @classmethod
    def for_training(
        cls, mean: Sequence[float], std: Sequence[float], kernels: str = "plain"
    ) -> CIFAR10NetTraining:
        """Make the training form, with batch normalisation."""
        return CIFAR10NetTraining(mean, std, kernels, plain=cls)


class MeanPool(CIFAR10Net):
    """CIFAR10Net with mean pooling in place of max pooling; the same parameters and multiply-adds."""

    description = "CIFAR10Net with mean pooling in place of max pooling."
    pooling = nn.AvgPool2d


class CIFAR10NetTraining(Trainable):
    """CIFAR10Net with batch normalisation, which ``fold`` removes exactly.

    Max pooling comes before normalisation and ReLU, which then process a quarter of the values. Maximum and
    ReLU both keep order, and so does a batch normalisation whose scale is positive (here it is fixed at one),
    so max-pool, normalise, ReLU equals normalise, ReLU, max-pool. A mean does not commute with ReLU and stays
    behind it.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        kernels: str = "plain",
        plain: type[CIFAR10Net] = CIFAR10Net,
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        pools_first = plain.pooling is nn.MaxPool2d
        for stage, (wide_in, wide_out) in enumerate(pairwise(_CHANNELS), start=1):
            layers[f"conv{stage}"] = KernelConv2d(wide_in, wide_out, _KERNEL, kernels)
            if pools_first:
                layers[f"pool{stage}"] = plain.pooling(2)
            norm = nn.BatchNorm2d(wide_out)
            norm.weight.requires_grad_(False)  # noqa: FBT003 - the scale stays one
            layers[f"norm{stage}"] = norm
            layers[f"relu{stage}"] = nn.ReLU()
            if not pools_first:
                layers[f"pool{stage}"] = plain.pooling(2)
        layers["flatten"] = nn.Flatten()
        layers["fc"] = nn.Linear(_FEATURES, CLASSES)
        super().__init__(mean, std, layers)
        self._plain = plain

    def fold(self) -> CIFAR10Net:
        """Return the plain network that computes what this one computes in evaluation mode."""
        network = self._plain()
        network.normalise.load_state_dict(self.normalise.state_dict())
        fold_layers(self.layers, network.layers)
        return network.eval()
