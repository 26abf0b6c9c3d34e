"""Convolutions that learn more numbers than they have weights, and how they fold into plain ones.

The sum of linear maps is one linear map, and so is one after another. A kernel that is written as such a
sum or product computes nothing else, but gradient descent takes another path to it. Here the kernel itself
is put together before each convolution, which costs as little as a kernel is small beside an image.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

_EXPANSION = 4
"""Channels of an expanded kernel's inside, over those it shows."""


class Kernel(nn.Module):
    """The weights of a convolution, each parameter a matrix with a row an output channel.

    Matrices are what Muon orthogonalises (torch.optim.Muon takes nothing else).
    """

    def __init__(self, wide_in: int, wide_out: int, size: int) -> None:
        super().__init__()
        self.wide_in, self.wide_out, self.size = wide_in, wide_out, size

    def forward(self) -> torch.Tensor:
        """Return the weights (out, in, size, size)."""
        raise NotImplementedError


class PlainKernel(Kernel):
    """As many numbers as weights; begins as ``nn.Conv2d`` does."""

    def __init__(self, wide_in: int, wide_out: int, size: int) -> None:
        super().__init__(wide_in, wide_out, size)
        self.matrix = _matrix(wide_out, wide_in * size**2)

    def forward(self) -> torch.Tensor:
        """Return the weights (out, in, size, size)."""
        return self.matrix.view(self.wide_out, self.wide_in, self.size, self.size)


class BranchedKernel(Kernel):
    """Parallel kernels of every odd size up to ``size``, around one centre, added.

    The branches of RepVGG (Ding et al. 2021, arXiv:2101.03697), without a normalisation of their own.
    """

    def __init__(self, wide_in: int, wide_out: int, size: int) -> None:
        super().__init__(wide_in, wide_out, size)
        self.branches = nn.ModuleList(
            PlainKernel(wide_in, wide_out, small) for small in range(1, size + 1, 2)
        )

    def forward(self) -> torch.Tensor:
        """Return the weights (out, in, size, size)."""
        total = torch.zeros(())
        for border, branch in enumerate(reversed(self.branches)):
            total = total + functional.pad(branch(), (border,) * 4)
        return total


class ExpandedKernel(Kernel):
    """A 1x1 convolution, one of ``size`` and a 1x1, with nothing in between.

    The linear over-parameterisation of ExpandNets (Guo et al. 2020, arXiv:1811.10495).
    """

    def __init__(self, wide_in: int, wide_out: int, size: int) -> None:
        super().__init__(wide_in, wide_out, size)
        inner_in, inner_out = _EXPANSION * wide_in, _EXPANSION * wide_out
        self.before = nn.Parameter(nn.init.orthogonal_(torch.empty(inner_in, wide_in)))
        self.inside = _matrix(inner_out, inner_in * size**2)
        self.after = nn.Parameter(nn.init.orthogonal_(torch.empty(wide_out, inner_out)))

    def forward(self) -> torch.Tensor:
        """Return the weights (out, in, size, size)."""
        inside = (self.after @ self.inside).view(self.wide_out, -1, self.size**2)
        kernel = torch.einsum("omk,mi->oik", inside, self.before)
        return kernel.reshape(self.wide_out, self.wide_in, self.size, self.size)


_KERNELS: dict[str, type[Kernel]] = {
    "plain": PlainKernel,
    "branches": BranchedKernel,
    "expanded": ExpandedKernel,
}
KERNEL_FORMS = tuple(_KERNELS)


class KernelConv2d(nn.Module):
    """A convolution of odd kernel size that keeps height and width, without bias."""

    def __init__(self, wide_in: int, wide_out: int, size: int, form: str = "plain") -> None:
        """Make it.

        Args:
            wide_in: channels in.
            wide_out: channels out.
            size: of the square kernel, odd.
            form: one of ``KERNEL_FORMS``.
        """
        super().__init__()
        self.kernel = _KERNELS[form](wide_in, wide_out, size)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Convolve (n, in, h, w) to (n, out, h, w)."""
        return functional.conv2d(images, self.kernel(), padding=self.kernel.size // 2)


@torch.no_grad()
def fold_into(target: nn.Conv2d, source: KernelConv2d, norm: nn.BatchNorm2d) -> None:
    """Write ``source`` followed by ``norm`` into the weight and bias of ``target``.

    norm(conv(x)) = (w*x - mean) * scale + shift with scale = gamma / sqrt(var + eps); folded in float64 and
    rounded once.
    """
    state = {name: value.double() for name, value in norm.state_dict().items()}
    scale = state["weight"] / torch.sqrt(state["running_var"] + norm.eps)
    target.weight.copy_(source.kernel().double() * scale.view(-1, 1, 1, 1))
    if target.bias is None:
        raise TypeError("the folded convolution needs a bias")
    target.bias.copy_(state["bias"] - state["running_mean"] * scale)


def _matrix(rows: int, columns: int) -> nn.Parameter:
    """Uniform within 1 / sqrt(columns), which ``nn.Conv2d`` begins with."""
    bound = 1 / math.sqrt(columns)
    return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound))
