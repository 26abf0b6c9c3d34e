"""Network architectures by name; each maps uint8 pixels to logits."""

from __future__ import annotations

from training.networks.cifar10net import CIFAR10Net, CIFAR10NetTraining, MeanPool
from training.networks.fully_connected import FullyConnected
from training.networks.lenet import LeNet
from training.networks.network import Network, Trainable
from training.networks.recurrent import Recurrent
from training.networks.resnet import ResNet

NETWORKS: dict[str, type[Network]] = {
    "cifar10net": CIFAR10Net,
    "mean_pool": MeanPool,
    "lenet": LeNet,
    "fully_connected": FullyConnected,
    "recurrent": Recurrent,
    "resnet": ResNet,
}

__all__ = ["NETWORKS", "CIFAR10Net", "CIFAR10NetTraining", "Network", "Trainable"]
