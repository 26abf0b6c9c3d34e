"""Temperature scaling: logits are divided by one number, so that probabilities match accuracy.

Top-1, top-3 and cost do not change, since the division is folded into the last layer (Guo et al. 2017,
arXiv:1706.04599).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from training.evaluation.metrics import SMALLEST_PROBABILITY

if TYPE_CHECKING:
    import numpy.typing as npt

    from training.networks import Network

LOWEST, HIGHEST = 0.5, 5.0
"""Bounds of T: if every image is classified correctly, cross-entropy is lowest at T = 0."""
_HALVINGS = 40


def fit_temperature(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """Find the temperature of the lowest mean cross-entropy.

    With b = 1 / T the cross-entropy of softmax(b z) is convex in b, and its slope is the mean of
    sum_k p_k z_k - z_label, whose zero is found by bisection.

    Args:
        probabilities: (n, k), predicted by the network.
        labels: (n,), true classes.

    Returns:
        T, from LOWEST to HIGHEST; above 1 for an overconfident network.
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST_PROBABILITY))
    true = logits[np.arange(len(labels)), labels]
    low, high = 1 / HIGHEST, 1 / LOWEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        weights = np.exp(middle * (logits - logits.max(axis=1, keepdims=True)))
        expected = (weights * logits).sum(axis=1) / weights.sum(axis=1)
        if (expected - true).mean() > 0:  # the cross-entropy rises with b
            high = middle
        else:
            low = middle
    return float(1 / high)


@torch.no_grad()
def with_temperature(network: Network, temperature: float) -> Network:
    """Return a copy of a network whose logits are divided by ``temperature``.

    Raises:
        TypeError: its last layer is not linear.
    """
    scaled = copy.deepcopy(network)
    last = list(scaled.layers)[-1]
    if not isinstance(last, nn.Linear):
        raise TypeError(f"the last layer is {type(last).__name__}, wanted Linear to divide its weights")
    for value in last.parameters():
        value.div_(temperature)
    return scaled
