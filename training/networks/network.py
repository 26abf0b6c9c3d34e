"""What every network has in common: uint8 pixels in, normalised, through its layers, logits out."""

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
    """A network in the form that learns: pixels (n, 32, 32, 3) uint8 to logits (n, 10) float32."""

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], layers: OrderedDict[str, nn.Module]
    ) -> None:
        """Put normalisation before the layers.

        Args:
            mean: of each colour channel, of pixels divided by 255.
            std: standard deviation of the same.
            layers: run one after the other on (n, 3, 32, 32).
        """
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.layers = nn.Sequential(layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (n, 10) for images (n, 32, 32, 3) uint8."""
        logits: torch.Tensor = self.layers(self.normalise(images))
        return logits

    def fold(self) -> Network:
        """Return the plain network, which computes what this one does in evaluation mode."""
        raise NotImplementedError


class Network(Trainable):
    """A network in the form that is exported.

    What helps only its training goes in a form of its own, made by ``for_training``, whose ``fold`` leads
    back; a network without one is trained as it is.
    """

    description: ClassVar[str]
    """What it is, in a sentence."""

    def __init__(self, mean: Sequence[float] = ZERO, std: Sequence[float] = ONE) -> None:
        super().__init__(mean, std, self._make_layers())

    @staticmethod
    def _make_layers() -> OrderedDict[str, nn.Module]:
        raise NotImplementedError

    @classmethod
    def for_training(cls, mean: Sequence[float], std: Sequence[float], kernels: str = "plain") -> Trainable:
        """Make the form that is trained.

        Args:
            mean: as of ``Trainable``.
            std: as of ``Trainable``.
            kernels: how convolution kernels are parameterised, one of ``kernels.KERNEL_FORMS``.

        Raises:
            TrainingError: the network has no kernels of another form than plain.
        """
        if kernels != "plain":
            raise TrainingError(
                f"{cls.__name__} is trained as it is, kernels are {kernels!r}, wanted 'plain'"
            )
        return cls(mean, std)

    def fold(self) -> Self:
        """Return a copy in evaluation mode: there is nothing to fold."""
        return copy.deepcopy(self).eval()
