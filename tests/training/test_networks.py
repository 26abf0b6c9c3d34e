"""CIFAR10Net is the network of the table, and its training form computes the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.networks import CIFAR10Net, CIFAR10NetTraining
from training.networks.normalise import Normalise
from training.summary import layer_rows

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


def test_normalise_is_the_published_formula() -> None:
    images = torch.randint(0, 256, (2, 4, 5, 3), dtype=torch.uint8)

    out = Normalise(MEAN, STD)(images)

    expected = (images.numpy().transpose(0, 3, 1, 2) / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(
        STD, (3, 1, 1)
    )
    assert out.dtype == torch.float32
    assert np.allclose(out.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_folding_changes_no_answer(seed: int) -> None:
    torch.manual_seed(seed)
    trained = CIFAR10NetTraining(MEAN, STD)
    images = torch.randint(0, 256, (64, 32, 32, 3), dtype=torch.uint8)
    for _ in range(5):  # moves the running statistics away from zero and one
        trained(images)
    with torch.no_grad():
        for name, value in trained.named_parameters():
            if "norm" in name and name.endswith("bias"):
                value.normal_()
    trained.eval()

    folded = trained.fold()

    with torch.inference_mode():
        difference = (folded(images) - trained(images)).abs().max().item()
    assert difference < 1e-5
    assert not folded.training
