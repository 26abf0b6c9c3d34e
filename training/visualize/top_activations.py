"""Which images excite each channel of a layer most, and where in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from training.visualize.layers import Layer, watching

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    from torch import nn

_BATCH = 250


@dataclass(frozen=True)
class Peaks:
    """The strongest activations of each channel, one an image, strongest first."""

    values: npt.NDArray[np.float32]
    """(channels, k); a channel that never is above zero has none."""
    images: npt.NDArray[np.int64]
    """(channels, k): index of the image."""
    rows: npt.NDArray[np.int64]
    """(channels, k): where in the map."""
    columns: npt.NDArray[np.int64]

    def strongest(self, k: int) -> Peaks:
        """Return the first ``k`` of each channel."""
        return Peaks(self.values[:, :k], self.images[:, :k], self.rows[:, :k], self.columns[:, :k])


def peaks(
    network: nn.Module,
    layers: Sequence[Layer],
    images: npt.NDArray[np.uint8],
    strongest: int,
    on_images: Callable[[int], None] = lambda _: None,
) -> dict[str, Peaks]:
    """Find the images on which each channel of some layers is strongest.

    Args:
        network: in evaluation mode.
        layers: those with feature maps that are wanted.
        images: uint8 (n, 32, 32, 3).
        strongest: how many images a channel, fewer where there are fewer.
        on_images: is told how many images are done.

    Returns:
        By layer; of each image only its strongest place counts.
    """
    found: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {each.name: [] for each in layers}

    def note(name: str, value: torch.Tensor) -> None:
        found[name].append(value.flatten(2).max(dim=2))  # not inplace: max copies

    for start in range(0, len(images), _BATCH):
        batch = np.ascontiguousarray(images[start : start + _BATCH])
        with watching(layers, note), torch.inference_mode():
            network(torch.from_numpy(batch))
        on_images(start + len(batch))
    return {each.name: _strongest(found[each.name], each.shape[2], strongest) for each in layers}


def _strongest(found: list[tuple[torch.Tensor, torch.Tensor]], width: int, strongest: int) -> Peaks:
    values = torch.cat([each[0] for each in found]).numpy().T  # (channels, n)
    places = torch.cat([each[1] for each in found]).numpy().T
    order = np.argsort(-values, axis=1, kind="stable")[:, :strongest]
    chosen = np.take_along_axis(places, order, axis=1)
    return Peaks(np.take_along_axis(values, order, axis=1), order, chosen // width, chosen % width)
