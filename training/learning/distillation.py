"""What a student learns from: a teacher's answers, and those to images that are put together of two.

In: logits and shares. Out: a loss, or the targets of mixed images. Knows nothing of networks.
"""

from __future__ import annotations

import torch
from torch.nn import functional

_SMALLEST = 1e-12


def distillation_loss(logits: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """How far a student is from its teacher: T^2 KL(teacher || student), both softened by T.

    Hinton et al. 2015 (arXiv:1503.02531); T^2 keeps the gradients as large as those of the labels.

    Args:
        logits: the student's, (n, 10).
        teacher: the teacher's, (n, 10).
        temperature: T.

    Returns:
        The mean over the images, in nats.
    """
    return temperature**2 * functional.kl_div(
        functional.log_softmax(logits / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
        log_target=True,
        reduction="batchmean",
    )


def mixed(one: torch.Tensor, other: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Return the probabilities of images that are put together of two (Yun et al. 2019, arXiv:1905.04899).

    Args:
        one: each class's probability in the images, (n, 10).
        other: in those that lend them a patch, (n, 10).
        share: of the pixels of each image that are its own, (n,), 0 to 1.
    """
    return torch.lerp(other, one, share[:, None])


def mixed_logits(
    one: torch.Tensor, other: torch.Tensor, share: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return what a teacher says of mixed images, taken to be the mean of what it says of the two.

    Args:
        one: its logits of the images, (n, 10).
        other: of those that lend them a patch, (n, 10).
        share: as of ``mixed``.
        temperature: T, by which the logits will be divided: the probabilities at T are what is averaged.

    Returns:
        Logits (n, 10), whose probabilities at T are the mean.
    """
    softened, their_softened = (functional.softmax(each / temperature, dim=1) for each in (one, other))
    return temperature * torch.log(mixed(softened, their_softened, share).clamp_min(_SMALLEST))
