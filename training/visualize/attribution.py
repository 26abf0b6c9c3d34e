"""Which pixels an answer hangs on, by Captum (https://captum.ai).

Occlusion (Zeiler and Fergus 2013, arXiv:1311.2901) asks what a class loses when a window is hidden, and needs
answers alone. Gradients need the network: saliency (Simonyan 2013, arXiv:1312.6034) and integrated gradients
(Sundararajan 2017, arXiv:1703.01365).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.errors import MissingPackageError

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

    from training.evaluation.metrics import Predictor

WINDOW_PX = 8
STRIDE_PX = 2
_WINDOWS_A_CALL = 169  # all of a 32x32 image
_INTEGRATION_STEPS = 50  # Captum's default; its error is checked by a test


@dataclass(frozen=True)
class Gradients:
    """Two maps an image, each by the logit of a class."""

    saliency: npt.NDArray[np.float32]
    """(n, 32, 32), 0 or more: change of the logit per step of a pixel's 256, largest of the three colours."""
    integrated: npt.NDArray[np.float32]
    """(n, 32, 32): share of each pixel in the logit's difference to an image of the mean colour."""


def occlusion(
    predict: Predictor,
    images: npt.NDArray[np.uint8],
    classes: npt.NDArray[np.int64],
    fill: npt.NDArray[np.uint8],
) -> npt.NDArray[np.float32]:
    """Measure what hiding a window costs a class.

    Args:
        predict: the model.
        images: uint8 (n, 32, 32, 3).
        classes: (n,), whose probability is watched.
        fill: uint8 (3,), the colour of the window, 8 pixels wide, moved by 2.

    Returns:
        float32 (n, 32, 32): mean loss of probability over the windows that hide a pixel; negative where the
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
            target=int(chosen),
            perturbations_per_eval=_WINDOWS_A_CALL,
        )
        for image, chosen in zip(images, classes, strict=True)
    ]
    lost: npt.NDArray[np.float32] = (
        torch.cat(maps)[..., 0].numpy().astype(np.float32)
    )  # one window for all colours
    return lost


def gradients(
    network: nn.Module,
    images: npt.NDArray[np.uint8],
    classes: npt.NDArray[np.int64],
    fill: npt.NDArray[np.uint8],
) -> Gradients:
    """Measure how the logit of a class follows the pixels; arguments and errors as ``occlusion``."""
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
