"""LeNet-5 for 32x32 colour images.

LeCun et al. 1998, "Gradient-based learning applied to document recognition", with three input channels, full
connections between the feature maps of the first two convolutions, mean pooling as subsampling, and a linear
output in place of radial basis functions.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from training.networks.network import CLASSES, Network


class LeNet(Network):
    """Images (n, 32, 32, 3) uint8 to logits (n, 10) float32."""

    description = "LeNet-5 for colour: convolution, tanh and mean subsampling in turn."

    @staticmethod
    def _make_layers() -> OrderedDict[str, nn.Module]:
        return OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(3, 6, 5),
            tanh1=nn.Tanh(),
            pool1=nn.AvgPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),
            tanh2=nn.Tanh(),
            pool2=nn.AvgPool2d(2),
            conv3=nn.Conv2d(16, 120, 5),
            tanh3=nn.Tanh(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(120, 84),
            tanh4=nn.Tanh(),
            fc2=nn.Linear(84, CLASSES),
        )
