"""Overparameterised convolution kernels, and folding batch normalisation into plain convolutions.

A sum or composition of linear maps is one linear map, so such a kernel computes the same functions as a plain
one, but gradient descent takes another path. The kernel is computed from its parameters before each
convolution, which is cheap since a kernel is small compared with an image.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn
from torch.nn import functional

_EXPANSION = 4
"""Inner channels of an expanded kernel, as a multiple of the outer ones."""


class Kernel(nn.Module):
    """The weights of a convolution, whose parameters are matrices with a row for each output channel.

    torch.optim.Muon accepts only matrices.
    """

    def __init__(self, wide_in: int, wide_out: int, size: int) -> None:
        super().__init__()
        self.wide_in, self.wide_out, self.size = wide_in, wide_out, size

    def forward(self) -> torch.Tensor:
        """Return the weights (out, in, size, size)."""
        raise NotImplementedError


class PlainKernel(Kernel):
    """One parameter for each weight, initialised as in ``nn.Conv2d``."""

    def __init__(self, wide_in: int, wide_out: int, size: int) -> None:
        super().__init__(wide_in, wide_out, size)
        self.matrix = _matrix(wide_out, wide_in * size**2)

    def forward(self) -> torch.Tensor:
        """Return the weights (out, in, size, size)."""
        return self.matrix.view(self.wide_out, self.wide_in, self.size, self.size)


class BranchedKernel(Kernel):
    """The sum of concentric kernels of every odd size up to ``size``.

    These are the branches of RepVGG (Ding et al. 2021, arXiv:2101.03697), without normalisation.
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
    """A 1x1 convolution, one of ``size`` and another 1x1, without nonlinearities.

    This is the overparameterisation of ExpandNets (Guo et al. 2020, arXiv:1811.10495).
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
    """A convolution of odd size without bias, which keeps height and width; ``form`` is in KERNEL_FORMS."""

    def __init__(self, wide_in: int, wide_out: int, size: int, form: str = "plain") -> None:
        super().__init__()
        self.kernel = _KERNELS[form](wide_in, wide_out, size)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Convolve (n, in, h, w) to (n, out, h, w)."""
        return functional.conv2d(images, self.kernel(), padding=self.kernel.size // 2)


@torch.no_grad()
def fold_layers(trained: nn.Module, plain: nn.Module) -> None:
    """Copy trained layers into the plain ones, each convolution ``conv`` together with its ``norm``.

    Args:
        trained: layers with each KernelConv2d named ``...conv...``, and its BatchNorm2d ``...norm...``.
        plain: the same layers with ``nn.Conv2d``, without normalisation; ``fc`` is copied.
    """
    for name, source in trained.named_modules():
        if isinstance(source, KernelConv2d):
            target = cast("nn.Conv2d", plain.get_submodule(name))
            _fold_into(
                target, source, cast("nn.BatchNorm2d", trained.get_submodule(name.replace("conv", "norm")))
            )
    plain.get_submodule("fc").load_state_dict(trained.get_submodule("fc").state_dict())


def _fold_into(target: nn.Conv2d, source: KernelConv2d, norm: nn.BatchNorm2d) -> None:
    """Write ``source`` followed by ``norm`` into the weight and bias of ``target``.

    norm(conv(x)) = (w*x - mean) * scale + shift with scale = gamma / sqrt(var + eps), computed in float64 and
    rounded once.
    """
    state = {name: value.double() for name, value in norm.state_dict().items()}
    scale = state["weight"] / torch.sqrt(state["running_var"] + norm.eps)
    target.weight.copy_(source.kernel().double() * scale.view(-1, 1, 1, 1))
    if target.bias is None:
        raise TypeError("the folded convolution needs a bias")
    target.bias.copy_(state["bias"] - state["running_mean"] * scale)


def _matrix(rows: int, columns: int) -> nn.Parameter:
    """Make a matrix, uniform within 1 / sqrt(columns) like the weights of ``nn.Conv2d``."""
    bound = 1 / math.sqrt(columns)
    return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound))
