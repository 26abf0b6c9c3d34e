"""A small, wide ResNet, the most accurate network and the teacher of the others.

He et al. 2015 (arXiv:1512.03385) in the shape that trains fastest on CIFAR-10 (David Page's ResNet-9, 2018):
few and wide layers, max pooling, a residual block for each resolution. 1.20 million parameters, 130 million
multiply-adds for an image.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

from torch import nn

from training.networks.kernels import KernelConv2d, fold_layers
from training.networks.network import CLASSES, Network, Trainable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

_STEM, _NARROW, _WIDE = 32, 64, 192


class Stage(nn.Sequential):
    """3x3 convolution with bias, optional 2x2 max pooling, ReLU."""

    def __init__(self, wide_in: int, wide_out: int, *, pools: bool) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["conv"] = nn.Conv2d(wide_in, wide_out, 3, padding=1)
        if pools:
            layers["pool"] = nn.MaxPool2d(2)
        layers["relu"] = nn.ReLU()
        super().__init__(layers)


class TrainingStage(nn.Sequential):
    """A stage with batch normalisation between pooling and ReLU, its scale fixed at one."""

    def __init__(self, wide_in: int, wide_out: int, *, pools: bool, kernels: str = "plain") -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["conv"] = KernelConv2d(wide_in, wide_out, 3, kernels)
        if pools:
            layers["pool"] = nn.MaxPool2d(2)
        norm = nn.BatchNorm2d(wide_out)
        norm.weight.requires_grad_(False)  # noqa: FBT003 - pooling comes first, so the scale stays positive
        layers["norm"] = norm
        layers["relu"] = nn.ReLU()
        super().__init__(layers)


class Residual(nn.Module):
    """A residual block of two stages of the same width."""

    def __init__(self, stage: Callable[..., nn.Module], wide: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(stage(wide, wide, pools=False), stage(wide, wide, pools=False))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return images + stages(images), (n, c, h, w)."""
        out: torch.Tensor = images + self.stages(images)
        return out


def _layers(stage: Callable[..., nn.Module]) -> OrderedDict[str, nn.Module]:
    return OrderedDict[str, nn.Module](
        stem=stage(3, _STEM, pools=False),
        stage1=stage(_STEM, _NARROW, pools=True),
        block1=Residual(stage, _NARROW),
        stage2=stage(_NARROW, _WIDE, pools=True),
        block2=Residual(stage, _WIDE),
        stage3=stage(_WIDE, _WIDE, pools=True),
        pool=nn.AdaptiveMaxPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(_WIDE, CLASSES),
    )


class ResNet(Network):
    """Images (n, 32, 32, 3) uint8 to logits (n, 10) float32."""

    description = "A small, wide residual network: the accurate one, and the teacher of the others."

    @staticmethod
    def _make_layers() -> OrderedDict[str, nn.Module]:
        return _layers(Stage)

    @classmethod
    def for_training(
        cls, mean: Sequence[float], std: Sequence[float], kernels: str = "plain"
    ) -> ResNetTraining:
        """Make the training form, with batch normalisation."""
        return ResNetTraining(mean, std, kernels)


class ResNetTraining(Trainable):
    """ResNet with batch normalisation, which ``fold`` removes exactly."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], kernels: str = "plain") -> None:
        super().__init__(mean, std, _layers(partial(TrainingStage, kernels=kernels)))

    def fold(self) -> ResNet:
        """Return the plain network that computes what this one computes in evaluation mode."""
        network = ResNet()
        network.normalise.load_state_dict(self.normalise.state_dict())
        fold_layers(self.layers, network.layers)
        return network.eval()
