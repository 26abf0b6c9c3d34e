"""Base classes of the networks: uint8 pixels, normalisation, layers, logits."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar, Self

from torch import nn

from training.errors import TrainingError
from training.networks.normalise import Normalise

if TYPE_CHECKING:
    from collections import OrderedDict
    from collections.abc import Sequence

    import torch

CLASSES = 10
ZERO = (0.0, 0.0, 0.0)
ONE = (1.0, 1.0, 1.0)


class Trainable(nn.Module):
    """The training form of a network: pixels (n, 32, 32, 3) uint8 to logits (n, 10) float32.

    Mean and deviation are those of each colour channel, of pixels divided by 255.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], layers: OrderedDict[str, nn.Module]
    ) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.layers = nn.Sequential(layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (n, 10) for images (n, 32, 32, 3) uint8."""
        logits: torch.Tensor = self.layers(self.normalise(images))
        return logits

    def fold(self) -> Network:
        """Return the plain network, which computes what this one computes in evaluation mode."""
        raise NotImplementedError


class Network(Trainable):
    """The exported form of a network.

    ``for_training`` makes the form that is trained, whose ``fold`` returns the exported form; by default they
    are the same.
    """

    description: ClassVar[str]
    """A sentence for the model card."""

    def __init__(self, mean: Sequence[float] = ZERO, std: Sequence[float] = ONE) -> None:
        super().__init__(mean, std, self._make_layers())

    @staticmethod
    def _make_layers() -> OrderedDict[str, nn.Module]:
        raise NotImplementedError

    @classmethod
    def for_training(cls, mean: Sequence[float], std: Sequence[float], kernels: str = "plain") -> Trainable:
        """Make the training form, with convolution kernels of one of the KERNEL_FORMS.

        Raises:
            TrainingError: the network supports only plain kernels.
        """
        if kernels != "plain":
            raise TrainingError(f"kernels are {kernels!r}, wanted 'plain': {cls.__name__} has no other form")
        return cls(mean, std)

    def fold(self) -> Self:
        """Return a copy in evaluation mode."""
        return copy.deepcopy(self).eval()
