"""Batch normalisation whose batch lies in several processes.

PyTorch's SyncBatchNorm is for GPUs alone; this one needs nothing but sums over a team, so it works between
CPUs too, and gives what ``nn.BatchNorm2d`` gives on the whole batch, to rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from training.learning.data_parallel import Team

_ALL_BUT_CHANNELS = (0, 2, 3)


def synchronise(network: nn.Module, team: Team) -> None:
    """Have every batch normalisation of a network look at the images of all processes.

    Parameters, buffers and their names stay.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, SynchronisedBatchNorm2d(child, team))


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """Takes another's place, with its parameters and buffers."""

    def __init__(self, plain: nn.BatchNorm2d, team: Team) -> None:
        if plain.momentum is None:
            raise TypeError("a cumulative average of statistics is not synchronised; give a momentum")
        super().__init__(plain.num_features, plain.eps, plain.momentum)
        self._share = plain.momentum
        self.weight, self.bias = plain.weight, plain.bias
        self.running_mean, self.running_var = plain.running_mean, plain.running_var
        self.num_batches_tracked = plain.num_batches_tracked
        self._team = team

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name of nn.BatchNorm2d
        """Normalise (n, c, h, w); while training, by what all processes have."""
        if not self.training:
            return super().forward(input)
        output, mean, variance, count = _Normalise.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, self.eps, self._team
        )
        with torch.no_grad():
            share = self._share
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            self.running_mean.lerp_(mean, share)  # type: ignore[union-attr]
            self.running_var.lerp_(variance * (count / (count - 1)), share)  # type: ignore[union-attr]
        return output  # type: ignore[no-any-return]


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, with mean and variance of the whole team's x.

    Its gradient is that of Ioffe and Szegedy 2015 (arXiv:1502.03167), section 3, the sums over the batch
    taken over the team: each process has the loss of its own images, and all of them depend on each x.
    """

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - autograd's way
        ctx: Any,  # noqa: ANN401 - autograd's own
        values: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        eps: float,
        team: Team,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        own = values.numel() / values.shape[1]
        variance, mean = torch.var_mean(_precise(values), _ALL_BUT_CHANNELS, correction=0)
        sums = torch.cat([mean * own, mean.new_tensor([own])])
        team.add(sums)
        count, overall = sums[-1], sums[:-1] / sums[-1]
        # Two sums in turn: squares of all values, less the square of their mean, would cancel.
        spread = (variance + (mean - overall) ** 2) * own
        team.add(spread)
        spread = spread / count
        ctx.save_for_backward(values, weight, overall, torch.rsqrt(spread + eps), count)
        ctx.team = team
        output = functional.batch_norm(values, overall, spread, weight, bias, training=False, eps=eps)
        ctx.mark_non_differentiable(overall, spread, count)
        return output, overall, spread, count

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        values, weight, mean, inverse, count = ctx.saved_tensors
        wide = (1, -1, 1, 1)
        normalised = (_precise(values) - mean.view(wide)) * inverse.view(wide)
        slope = _precise(gradient)
        sums = torch.stack([slope.sum(_ALL_BUT_CHANNELS), (slope * normalised).sum(_ALL_BUT_CHANNELS)])
        of_bias, of_weight = sums.clone()  # of the own images: they are added with all other gradients
        ctx.team.add(sums)
        level, tilt = sums / count
        moved = slope - level.view(wide) - normalised * tilt.view(wide)
        return (moved * (weight * inverse).view(wide)).to(values.dtype), of_weight, of_bias, None, None


def _precise(values: torch.Tensor) -> torch.Tensor:
    """Widen numbers to float32 at least."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
