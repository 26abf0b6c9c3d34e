"""Optimizers of a run, and the learning rate of each step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from training.errors import CheckpointError, TrainingError
from training.networks.kernels import Kernel

if TYPE_CHECKING:
    from training.learning.config import TrainConfig

_LOWEST_RATE = 1 / 25  # share of the peak, at the first step


def one_cycle(progress: float, warmup: float) -> float:
    """Return the share of the peak learning rate: one cycle (Smith 2018, arXiv:1803.09820) of two cosines.

    ``progress`` is the share of all steps that are done, ``warmup`` of those before the peak, below 1.
    """
    if progress < warmup:
        rise = (1 - math.cos(math.pi * progress / warmup)) / 2
        return _LOWEST_RATE + (1 - _LOWEST_RATE) * rise
    return (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2


class Optimizers:
    """SGD with Nesterov momentum; optionally Muon for convolution kernels, and SGD for the rest.

    Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) makes each step of a matrix nearly
    orthogonal. Biases and normalisations have no weight decay.

    Raises:
        TrainingError: Muon is configured, and the network has no kernels for it.
    """

    def __init__(self, network: nn.Module, config: TrainConfig) -> None:
        learned = [value for value in network.parameters() if value.requires_grad]
        by_muon = _kernel_matrices(network) if config.optimizer == "muon" else []
        if config.optimizer == "muon" and not by_muon:
            raise TrainingError(f"{config.network} has no kernels for muon to optimise; take --optimizer sgd")
        taken = set(map(id, by_muon))
        left = [value for value in learned if id(value) not in taken]
        self._warmup = config.warmup_fraction
        self._all: list[torch.optim.Optimizer] = [
            torch.optim.SGD(
                [
                    {"params": [each for each in left if each.ndim > 1], "weight_decay": config.weight_decay},
                    {"params": [each for each in left if each.ndim == 1], "weight_decay": 0.0},
                ],
                lr=config.peak_learning_rate,
                momentum=config.momentum,
                nesterov=config.momentum > 0,
            )
        ]
        if by_muon:
            self._all.append(
                torch.optim.Muon(
                    by_muon,
                    lr=config.muon_learning_rate,
                    weight_decay=config.muon_weight_decay,
                    momentum=config.momentum,
                    nesterov=True,
                )
            )
        self._peaks = [[group["lr"] for group in each.param_groups] for each in self._all]

    def step(self, progress: float) -> None:
        """Update the weights, and clear the gradients; ``progress`` is that of ``one_cycle``."""
        share = one_cycle(progress, self._warmup)
        for optimiser, peaks in zip(self._all, self._peaks, strict=True):
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * share
            optimiser.step()
            optimiser.zero_grad()

    @property
    def learning_rate(self) -> float:
        """SGD's learning rate at the last step."""
        return float(self._all[0].param_groups[0]["lr"])

    def state(self) -> dict[str, Any]:
        """Return what ``restore`` needs."""
        return {type(each).__name__: each.state_dict() for each in self._all}

    def restore(self, state: dict[str, Any]) -> None:
        """Load a state. Raises CheckpointError if it is of other optimizers or weights."""
        try:
            for each in self._all:
                each.load_state_dict(state[type(each).__name__])
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"the checkpoint's optimizer does not fit: {error}") from error


def _kernel_matrices(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of all kernels; each is a matrix."""
    return [
        value
        for module in network.modules()
        if isinstance(module, Kernel)
        for value in module.parameters(recurse=False)
    ]
