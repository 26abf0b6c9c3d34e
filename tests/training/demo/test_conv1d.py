"""The edge finder computes what torch.nn.functional.conv1d does, and finds edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from training.demo.conv1d import FILTERS, SIGNAL, arithmetic, convolve, find_edges, missed_edges
from training.errors import TrainingError


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("channels", "filters", "size"), [(1, 2, 2), (2, 3, 2), (3, 2, 5)])
def test_it_is_what_torch_computes(channels: int, filters: int, size: int, stride: int) -> None:
    random = np.random.default_rng(0)
    signal, weights = random.normal(size=(channels, 17)), random.normal(size=(filters, channels, size))

    ours = convolve(signal, weights, stride)

    theirs = functional.conv1d(torch.from_numpy(signal)[None], torch.from_numpy(weights), stride=stride)[0]
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs.numpy()).max() < 1e-12


@pytest.mark.parametrize("stride", [1, 2])
def test_edges_are_what_torch_computes_on_the_padded_signal(stride: int) -> None:
    padded = functional.pad(torch.tensor(SIGNAL, dtype=torch.float64), (0, 1))
    weights = torch.tensor(list(FILTERS.values()), dtype=torch.float64)[:, None]

    found = find_edges(SIGNAL, stride)

    expected = functional.conv1d(padded[None, None], weights, stride=stride)[0]
    assert np.array_equal(found.outputs, expected.numpy())
    assert np.array_equal(found.rectified, functional.relu(expected).numpy())


def test_five_values_padded_to_six_give_three_answers_of_each_filter_at_stride_2() -> None:
    found = find_edges(SIGNAL, 2)

    assert len(SIGNAL) == 5
    assert found.padded.tolist() == [1, 8, 8, 8, 2, 0]
    assert found.places == [0, 2, 4]
    assert found.rectified.tolist() == [[7, 0, 0], [0, 0, 2]]
    assert missed_edges(found) == [3]


def test_each_filter_answers_to_its_own_kind_of_edge() -> None:
    found = find_edges((0, 0, 9, 9, 9, 0, 0), 1)

    assert found.rectified.tolist() == [[0, 9, 0, 0, 0, 0, 0], [0, 0, 0, 0, 9, 0, 0]]
    assert missed_edges(found) == []


def test_the_arithmetic_adds_up() -> None:
    found = find_edges((1.5, -2, 4), 2)

    lines = arithmetic(found)

    assert lines[1] == "  values 0 and 1: -1*1.5 +1*(-2) = -3.5, after ReLU 0"
    sums = [line.split(": ")[1].split(" = ") for line in lines if " = " in line]
    assert len(sums) == found.outputs.size
    for products, answer in sums:
        terms = [term.replace("(", "").replace(")", "").split("*") for term in products.split()]
        assert sum(float(a) * float(b) for a, b in terms) == float(answer.split(",")[0])


@pytest.mark.parametrize(
    ("signal", "stride", "padding", "message"),
    [
        (SIGNAL, 0, 1, "the stride is 0, wanted 1 or more"),
        (SIGNAL, -1, 1, "the stride is -1, wanted 1 or more"),
        (SIGNAL, 1, -1, "the padding is -1, wanted 0 to 64"),
        ((1.0,), 1, 0, "the padded signal has 1 values and the filter 2"),
        ((), 1, 1, "the signal has 0 values, wanted 1 to 64"),
        ((1.0, float("nan")), 1, 1, "finite numbers"),
        ((1.0,) * 65, 1, 1, "the signal has 65 values"),
    ],
)
def test_what_makes_no_sense_is_refused(
    signal: tuple[float, ...], stride: int, padding: int, message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        find_edges(signal, stride, padding)
