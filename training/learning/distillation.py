"""Distillation targets: the teacher's soft labels, also for CutMix images."""

from __future__ import annotations

import torch
from torch.nn import functional

_SMALLEST = 1e-12


def distillation_loss(logits: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Compute T^2 KL(teacher || student), both softened by the temperature T.

    Hinton et al. 2015 (arXiv:1503.02531); T^2 keeps its gradients as large as those of the labels.

    Logits are (n, 10); the result is the mean over the images, in nats.
    """
    return temperature**2 * functional.kl_div(
        functional.log_softmax(logits / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
        log_target=True,
        reduction="batchmean",
    )


def mix_targets(one: torch.Tensor, other: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Return the class probabilities of CutMix images (Yun et al. 2019, arXiv:1905.04899).

    Args:
        one: class probabilities of the images, (n, 10).
        other: class probabilities of the donors of their patches, (n, 10).
        share: share of each image's pixels that are its own, (n,), 0 to 1.
    """
    return torch.lerp(other, one, share[:, None])


def mix_logits(
    one: torch.Tensor, other: torch.Tensor, share: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return a teacher's logits (n, 10) for CutMix images.

    Their probabilities at ``temperature`` are ``mix_targets`` of those of the logits of both images.
    """
    softened, other_softened = (functional.softmax(each / temperature, dim=1) for each in (one, other))
    return temperature * torch.log(mix_targets(softened, other_softened, share).clamp_min(_SMALLEST))
