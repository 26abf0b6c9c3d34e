"""Attribution: which pixels a prediction depends on, by Captum (https://captum.ai).

Occlusion (Zeiler and Fergus 2013, arXiv:1311.2901) hides a window and measures the lost probability; it needs
predictions only. Saliency (Simonyan 2013, arXiv:1312.6034) and integrated gradients (Sundararajan 2017,
arXiv:1703.01365) need the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from training.errors import MissingPackageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn

    from training.evaluation.metrics import Predictor

WINDOW_PX = 8
STRIDE_PX = 2
_WINDOWS_PER_CALL = 169  # all windows of a 32x32 image
_INTEGRATION_STEPS = 50  # Captum's default; a test checks the error


@dataclass(frozen=True)
class Gradients:
    """Two attribution maps per image, for the logit of one class."""

    saliency: npt.NDArray[np.float32]
    """(n, 32, 32), at least 0: change of the logit per step of a pixel's 0..255, maximum over the colours."""
    integrated: npt.NDArray[np.float32]
    """(n, 32, 32): each pixel's share of the logit difference to an image of the mean colour."""


def occlusion(
    predict: Predictor,
    images: npt.NDArray[np.uint8],
    classes: npt.NDArray[np.int64],
    fill: npt.NDArray[np.uint8],
) -> npt.NDArray[np.float32]:
    """Measure how much probability a class loses when an 8x8 window, moved in steps of 2, is hidden.

    Args:
        predict: the model.
        images: uint8 (n, 32, 32, 3).
        classes: (n,), the class to measure for each image.
        fill: uint8 (3,), the colour of the window.

    Returns:
        float32 (n, 32, 32): mean loss of probability over the windows that cover a pixel; negative where the
        class gains.

    Raises:
        MissingPackageError: Captum is not installed.
    """

    def probabilities(pixels: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(predict(pixels.round().to(torch.uint8).numpy()))

    method = _captum().Occlusion(probabilities)
    maps = [
        method.attribute(
            torch.from_numpy(image[None]).float(),
            sliding_window_shapes=(WINDOW_PX, WINDOW_PX, 3),
            strides=(STRIDE_PX, STRIDE_PX, 3),
            baselines=torch.from_numpy(fill).float().expand(1, *image.shape),
            target=int(label),
            perturbations_per_eval=_WINDOWS_PER_CALL,
        )
        for image, label in zip(images, classes, strict=True)
    ]
    # The window covers all three colours, so their values are equal.
    lost: npt.NDArray[np.float32] = torch.cat(maps)[..., 0].float().numpy()
    return lost


def gradients(
    network: nn.Module,
    images: npt.NDArray[np.uint8],
    classes: npt.NDArray[np.int64],
    fill: npt.NDArray[np.uint8],
) -> Gradients:
    """Compute saliency and integrated gradients; arguments and errors as for ``occlusion``."""
    captum = _captum()
    target = torch.from_numpy(classes)
    pixels = torch.from_numpy(images).float().requires_grad_()
    baseline = torch.from_numpy(fill).float().expand(images.shape)
    saliency = captum.Saliency(network).attribute(pixels, target=target)
    integrated = captum.IntegratedGradients(network).attribute(
        pixels, baselines=baseline, target=target, n_steps=_INTEGRATION_STEPS, internal_batch_size=256
    )
    return Gradients(saliency.detach().amax(dim=3).numpy(), integrated.detach().sum(dim=3).float().numpy())


def _captum() -> Any:  # noqa: ANN401 - Captum has no types
    try:
        import captum.attr  # noqa: PLC0415 - takes a second
    except ImportError as error:
        raise MissingPackageError(str(error.name), "train") from error
    return captum.attr
