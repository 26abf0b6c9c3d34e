"""Feature maps: what each layer makes of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from training.visualize.layers import Layer, watching

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    from torch import nn


def feature_maps(
    network: nn.Module, layers: Sequence[Layer], image: npt.NDArray[np.uint8]
) -> dict[str, npt.NDArray[np.float32]]:
    """Return what each layer gives for one image.

    Args:
        network: in evaluation mode.
        layers: of the network.
        image: uint8 (32, 32, 3).

    Returns:
        By layer: float32 (channels, height, width), (steps, features) or (features,).
    """
    maps: dict[str, npt.NDArray[np.float32]] = {}

    def note(name: str, value: torch.Tensor) -> None:
        maps.setdefault(name, value[0].float().contiguous().numpy().copy())  # a later layer may work in place

    with watching(layers, note), torch.inference_mode():
        network(torch.from_numpy(image[None]))
    return maps
