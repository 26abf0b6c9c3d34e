"""Batch normalisation over a batch that is shared by several processes.

PyTorch's SyncBatchNorm runs only on GPUs. This one needs only sums over the group, so it also works between
CPUs; it computes what ``nn.BatchNorm2d`` computes on the whole batch, up to rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from training.learning.data_parallel import ProcessGroup

_ALL_BUT_CHANNELS = (0, 2, 3)


def synchronize_batchnorm(network: nn.Module, group: ProcessGroup) -> None:
    """Replace every batch normalisation of a network; parameters, buffers and their names do not change."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, SyncBatchNorm2d(child, group))


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Replaces a ``nn.BatchNorm2d``, and takes over its parameters and buffers."""

    def __init__(self, plain: nn.BatchNorm2d, group: ProcessGroup) -> None:
        if plain.momentum is None:
            raise TypeError("momentum is None: a cumulative average cannot be synchronised, give a momentum")
        super().__init__(plain.num_features, plain.eps, plain.momentum)
        self._share = plain.momentum
        self.weight, self.bias = plain.weight, plain.bias
        self.running_mean, self.running_var = plain.running_mean, plain.running_var
        self.num_batches_tracked = plain.num_batches_tracked
        self._group = group

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name of nn.BatchNorm2d
        """Normalise (n, c, h, w); in training, with the statistics of all processes."""
        if not self.training:
            return super().forward(input)
        output, mean, variance, count = _SyncBatchNormFunction.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, self.eps, self._group
        )
        with torch.no_grad():
            share = self._share
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            self.running_mean.lerp_(mean, share)  # type: ignore[union-attr]
            self.running_var.lerp_(variance * (count / (count - 1)), share)  # type: ignore[union-attr]
        return output  # type: ignore[no-any-return]


class _SyncBatchNormFunction(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, with mean and variance over all processes.

    The gradient is that of Ioffe and Szegedy 2015 (arXiv:1502.03167), section 3, with sums over all
    processes, since the loss of each depends on every x.
    """

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - as autograd passes them
        ctx: Any,  # noqa: ANN401 - autograd's context
        values: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        eps: float,
        group: ProcessGroup,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        own = values.numel() / values.shape[1]
        variance, mean = torch.var_mean(_precise(values), _ALL_BUT_CHANNELS, correction=0)
        sums = torch.cat([mean * own, mean.new_tensor([own])])
        group.all_reduce(sums)
        count, overall = sums[-1], sums[:-1] / sums[-1]
        # Two reductions: mean of squares minus square of the mean would suffer from cancellation.
        spread = (variance + (mean - overall) ** 2) * own
        group.all_reduce(spread)
        spread = spread / count
        ctx.save_for_backward(values, weight, overall, torch.rsqrt(spread + eps), count)
        ctx.group = group
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
        of_bias, of_weight = sums.clone()  # of this process's images: reduced later, with all other gradients
        ctx.group.all_reduce(sums)
        level, tilt = sums / count
        moved = slope - level.view(wide) - normalised * tilt.view(wide)
        return (moved * (weight * inverse).view(wide)).to(values.dtype), of_weight, of_bias, None, None


def _precise(values: torch.Tensor) -> torch.Tensor:
    """Convert to float32, if the values are narrower."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
