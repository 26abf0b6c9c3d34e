"""The networks by name: one file an architecture, each taking uint8 pixels and giving logits."""

from __future__ import annotations

from training.networks.cifar10net import CIFAR10Net, CIFAR10NetTraining

NETWORKS = {"cifar10net": CIFAR10Net}

__all__ = ["NETWORKS", "CIFAR10Net", "CIFAR10NetTraining"]
