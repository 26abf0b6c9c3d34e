"""The feed-forward baseline: pixels as one vector, and two hidden layers."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from training.networks.network import CLASSES, Network

_PIXELS = 32 * 32 * 3
_HIDDEN = (1000, 840)  # 3,920,400 multiply-adds: CIFAR10Net has 3,920,000


class FullyConnected(Network):
    """Images (n, 32, 32, 3) uint8 to logits (n, 10) float32."""

    description = "The feed-forward baseline: pixels as one vector, two hidden layers with ReLU."

    @staticmethod
    def _make_layers() -> OrderedDict[str, nn.Module]:
        first, second = _HIDDEN
        return OrderedDict[str, nn.Module](
            flatten=nn.Flatten(),
            fc1=nn.Linear(_PIXELS, first),
            relu1=nn.ReLU(),
            fc2=nn.Linear(first, second),
            relu2=nn.ReLU(),
            fc3=nn.Linear(second, CLASSES),
        )
