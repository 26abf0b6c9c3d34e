"""The images that activate each channel of a layer most strongly, and where in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from training.visualize.layers import Layer, hook_outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    from torch import nn

_BATCH = 250


@dataclass(frozen=True)
class TopActivations:
    """The strongest activations of each channel, at most one per image, strongest first."""

    values: npt.NDArray[np.float32]
    """(channels, k)."""
    images: npt.NDArray[np.int64]
    """(channels, k): index of the image."""
    rows: npt.NDArray[np.int64]
    """(channels, k): row in the feature map."""
    columns: npt.NDArray[np.int64]
    """(channels, k)."""

    def strongest(self, k: int) -> TopActivations:
        """Return the first ``k`` of each channel."""
        return TopActivations(self.values[:, :k], self.images[:, :k], self.rows[:, :k], self.columns[:, :k])


def find_top_activations(
    network: nn.Module,
    layers: Sequence[Layer],
    images: npt.NDArray[np.uint8],
    k: int,
    on_images: Callable[[int], None] = lambda _: None,
) -> dict[str, TopActivations]:
    """Find the ``k`` images on which each channel is strongest, by layer.

    Args:
        network: in evaluation mode.
        layers: layers with feature maps.
        images: uint8 (n, 32, 32, 3); fewer than ``k`` give fewer activations.
        k: images per channel; each counts once, at its strongest position.
        on_images: called with the number of images processed so far.
    """
    maxima: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {each.name: [] for each in layers}

    def keep_maximum(name: str, output: torch.Tensor) -> None:
        maxima[name].append(output.flatten(2).max(dim=2))  # a copy: later layers may work in place

    for start in range(0, len(images), _BATCH):
        batch = np.ascontiguousarray(images[start : start + _BATCH])
        with hook_outputs(layers, keep_maximum), torch.inference_mode():
            network(torch.from_numpy(batch))
        on_images(start + len(batch))
    return {each.name: _strongest(maxima[each.name], each.shape[2], k) for each in layers}


def _strongest(maxima: list[tuple[torch.Tensor, torch.Tensor]], width: int, k: int) -> TopActivations:
    values, places = (torch.cat(parts).numpy().T for parts in zip(*maxima, strict=True))  # (channels, n)
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    chosen = np.take_along_axis(places, order, axis=1)
    return TopActivations(np.take_along_axis(values, order, axis=1), order, chosen // width, chosen % width)
