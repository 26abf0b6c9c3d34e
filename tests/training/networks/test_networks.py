"""Networks match their tables, and folded networks compute what their training forms compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from training.errors import TrainingError
from training.evaluation.layer_table import layer_rows
from training.learning.config import TrainConfig
from training.learning.optimizers import Optimizers
from training.learning.recipes import RECIPES
from training.networks import NETWORKS, CIFAR10Net
from training.networks.kernels import (
    KERNEL_FORMS,
    BranchedKernel,
    ExpandedKernel,
    KernelConv2d,
    PlainKernel,
)
from training.networks.lenet import LeNet
from training.networks.normalise import Normalise
from training.networks.recurrent import Rows

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def test_the_layer_table_is_the_designs() -> None:
    rows = {row.name: row for row in layer_rows(CIFAR10Net())}

    convolutions = [rows[f"conv{stage}"] for stage in (1, 2, 3)]
    assert [row.parameters for row in (*convolutions, rows["fc"])] == [1_216, 8_020, 10_020, 3_210]
    assert [(row.kernel, row.stride, row.padding) for row in convolutions] == [(5, 1, 2)] * 3
    assert [row.output for row in convolutions] == [(32, 32, 16), (16, 16, 20), (8, 8, 20)]
    pools = [rows[f"pool{stage}"] for stage in (1, 2, 3)]
    assert [row.output for row in pools] == [(16, 16, 16), (8, 8, 20), (4, 4, 20)]
    assert [(row.kernel, row.stride) for row in pools] == [(2, 2)] * 3
    assert sum(row.parameters for row in rows.values()) == 22_466
    assert sum(row.multiply_adds for row in rows.values()) == 3_920_000
    assert [row.receptive_field for row in (*convolutions, rows["pool3"], rows["fc"])] == [
        5,
        14,
        32,
        36,
        None,
    ]


def test_parameters_of_the_module_are_the_tables() -> None:
    assert sum(value.numel() for value in CIFAR10Net().parameters()) == 22_466


def test_normalise_gives_the_same_bits_while_it_learns() -> None:
    images = torch.randint(0, 256, (3, 4, 5, 3), dtype=torch.uint8)
    normalise = Normalise(MEAN, STD)

    learning, exported = normalise.train()(images), normalise.eval()(images)

    assert torch.equal(learning, exported)
    assert learning.stride() == exported.stride()


def test_normalise_is_the_published_formula() -> None:
    images = torch.randint(0, 256, (2, 4, 5, 3), dtype=torch.uint8)

    out = Normalise(MEAN, STD)(images)

    expected = (images.numpy().transpose(0, 3, 1, 2) / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(
        STD, (3, 1, 1)
    )
    assert out.dtype == torch.float32
    assert np.allclose(out.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [
        ("cifar10net", 22_466, 3_920_000),
        ("mean_pool", 22_466, 3_920_000),
        ("lenet", 62_006, 651_720),
        ("fully_connected", 3_922_250, 3_920_400),
        ("recurrent", 117_002, 32 * 4 * 128 * (96 + 128) + 1_280),
        ("resnet", 1_201_866, 130_647_936),
    ],
)
def test_every_network_has_the_parameters_and_multiply_adds_it_claims(
    name: str, parameters: int, multiply_adds: int
) -> None:
    network = NETWORKS[name]()
    rows = layer_rows(network)

    assert sum(value.numel() for value in network.parameters()) == parameters
    assert sum(row.parameters for row in rows) == parameters
    assert sum(row.multiply_adds for row in rows) == multiply_adds


def test_the_receptive_field_of_a_block_is_that_of_its_longest_path() -> None:
    rows = {row.name: row for row in layer_rows(NETWORKS["resnet"]())}

    # 3x3 widens by 2 pixels of its input: 3, 5; pooled 6; at half size 4 more each, and so on.
    assert [rows[name].receptive_field for name in ("stem", "stage1", "block1", "stage2", "block2")] == [
        3,
        6,
        14,
        20,
        36,
    ]
    assert rows["pool"].receptive_field is None


def test_lenet_has_the_layers_of_the_paper() -> None:
    rows = {row.name: row for row in layer_rows(LeNet())}

    assert [rows[name].output for name in ("conv1", "pool1", "conv2", "pool2", "conv3")] == [
        (28, 28, 6),
        (14, 14, 6),
        (10, 10, 16),
        (5, 5, 16),
        (1, 1, 120),
    ]
    assert [rows[name].output for name in ("fc1", "fc2")] == [(84,), (10,)]


def test_the_recurrent_network_reads_rows_from_top_to_bottom() -> None:
    images = torch.arange(2 * 3 * 32 * 32, dtype=torch.float32).view(2, 3, 32, 32)

    rows = Rows()(images)

    assert rows.shape == (2, 32, 96)
    assert torch.equal(rows[1, 5].view(32, 3), images[1, :, 5].T)


FORMS = [(name, form) for name in ("cifar10net", "resnet") for form in KERNEL_FORMS] + [
    (name, "plain") for name in NETWORKS if name not in {"cifar10net", "resnet"}
]


@pytest.mark.parametrize(("name", "form"), FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_folding_changes_no_answer(name: str, form: str, seed: int) -> None:
    torch.manual_seed(seed)
    trained = NETWORKS[name].for_training(MEAN, STD, form)
    images = torch.randint(0, 256, (16, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        for _ in range(3):  # moves the running statistics away from zero and one
            trained(images)
        for parameter, value in trained.named_parameters():
            if "norm" in parameter and parameter.endswith("bias"):
                value.normal_()
    trained.eval()

    folded = trained.fold()

    assert type(folded) is NETWORKS[name]
    with torch.inference_mode():
        difference = (folded(images) - trained(images)).abs().max().item()
    assert difference < 1e-5
    assert not folded.training


@pytest.mark.parametrize("form", KERNEL_FORMS)
@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_kernel_is_the_convolutions_it_stands_for(form: str, size: int) -> None:
    torch.manual_seed(0)
    convolution = KernelConv2d(3, 4, size, form)
    images = torch.randn(2, 3, 9, 9)

    with torch.inference_mode():
        answer = convolution(images)
        assert torch.allclose(answer, _by_hand(convolution.kernel, images), atol=1e-5)
    assert answer.shape == (2, 4, 9, 9)
    assert all(value.ndim == 2 for value in convolution.parameters())


def _by_hand(kernel: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Convolve by each of a kernel's parts."""
    if isinstance(kernel, BranchedKernel):
        return sum((_by_hand(branch, images) for branch in kernel.branches), torch.zeros(()))
    if isinstance(kernel, ExpandedKernel):
        inner_out, inner_in = kernel.inside.shape[0], kernel.before.shape[0]
        inside = kernel.inside.view(inner_out, inner_in, kernel.size, kernel.size)
        wide = functional.conv2d(images, kernel.before[:, :, None, None])
        return functional.conv2d(
            functional.conv2d(wide, inside, padding=kernel.size // 2), kernel.after[:, :, None, None]
        )
    assert isinstance(kernel, PlainKernel)
    return functional.conv2d(images, kernel(), padding=kernel.size // 2)


def test_every_network_has_a_recipe_of_its_name() -> None:
    for name, recipe in RECIPES.items():
        assert recipe.network == name.partition("-")[0]
    assert set(RECIPES) >= set(NETWORKS)


@pytest.mark.parametrize("name", ["lenet", "fully_connected", "recurrent"])
def test_a_network_without_kernels_refuses_what_it_would_ignore(name: str) -> None:
    network = NETWORKS[name].for_training(MEAN, STD)

    with pytest.raises(TrainingError, match="kernels are 'expanded', wanted 'plain'"):
        NETWORKS[name].for_training(MEAN, STD, "expanded")
    with pytest.raises(TrainingError, match=f"{name} has no kernels for muon"):
        Optimizers(network, TrainConfig(network=name, optimizer="muon"))
