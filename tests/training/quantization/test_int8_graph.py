"""The graph rewritten for int8 kernels computes what the exported one computes."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from training.export.exporter import _to_onnx
from training.networks.normalise import Normalise
from training.onnx_graph.nodes import GraphEditor
from training.quantization.int8_graph import rewrite_for_int8
from training.quantization.quantized_model import in_memory_predictor

if TYPE_CHECKING:
    from collections.abc import Sequence

MEAN = (121 / 255, 130 / 255, 97 / 255)  # whole levels: then the border is exact
STD = (0.25, 0.24, 0.26)
FINE = 1 << 22  # steps of a weight: float32 itself is not much finer
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)


class Small(nn.Module):
    """Normalisation, some layers, ten classes."""

    def __init__(self, *layers: nn.Module, mean: Sequence[float] = MEAN) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.normalise = Normalise(mean, STD)
        self.layers = nn.Sequential(OrderedDict((str(n), layer) for n, layer in enumerate(layers)))
        with torch.no_grad():
            features = self.layers(self.normalise(torch.zeros((1, 32, 32, 3), dtype=torch.uint8))).numel()
        self.fc = nn.Linear(features, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.layers(self.normalise(images)).flatten(1))
        return logits


def conv(wide_in: int, wide_out: int, kernel: int, **settings: Any) -> nn.Conv2d:
    torch.manual_seed(1)
    return nn.Conv2d(wide_in, wide_out, kernel, **settings)


def pooled(wide_in: int, wide_out: int, kernel: int, padding: int) -> list[nn.Module]:
    return [conv(wide_in, wide_out, kernel, padding=padding), nn.ReLU(), nn.MaxPool2d(2)]


def rewritten(network: nn.Module, largest_weight: int = FINE) -> tuple[onnx.ModelProto, float]:
    """Return the rewritten graph and by how much its answers differ."""
    model = _to_onnx(network.eval())
    nodes = GraphEditor(model)
    rewrite_for_int8(nodes, largest_weight)
    changed = nodes.model()
    onnx.checker.check_model(changed, full_check=True)
    answers = [in_memory_predictor(each)(IMAGES) for each in (model, changed)]
    return changed, float(np.abs(answers[0] - answers[1]).max())


def kernels(model: onnx.ModelProto) -> list[list[int]]:
    """Shapes of the convolutions, in order."""
    shapes = {value.name: list(value.dims) for value in model.graph.initializer}
    return [shapes[node.input[1]] for node in model.graph.node if node.op_type == "Conv"]


@pytest.fixture(scope="module")
def stage() -> onnx.ModelProto:
    """Return a graph of one stage, pooled."""
    return _to_onnx(Small(*pooled(3, 16, 5, 2)).eval())


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        pytest.param(pooled(3, 16, 5, 2), [[128, 12, 6, 2]], id="5x5, pooled"),
        pytest.param(pooled(3, 16, 5, 0), [[128, 12, 6, 2]], id="5x5 without padding"),
        pytest.param(pooled(3, 8, 3, 0), [[8, 3, 3, 3]], id="no multiple of four columns"),
        pytest.param([conv(3, 6, 5, padding=2), nn.ReLU()], [[6, 3, 5, 5]], id="not pooled"),
        pytest.param(
            [*pooled(3, 16, 5, 2), *pooled(16, 20, 5, 2), *pooled(20, 20, 3, 1)],
            [[128, 12, 6, 2], [80, 16, 6, 6], [80, 20, 4, 4]],
            id="three stages",
        ),
        pytest.param(
            [*pooled(3, 6, 5, 2), *pooled(6, 8, 5, 0), conv(8, 8, 3, bias=False)],
            [[48, 12, 6, 2], [8, 6, 5, 5], [8, 8, 3, 3]],
            id="channels that are no multiple of four",
        ),
        pytest.param(
            [
                *pooled(3, 4, 5, 2),
                *[conv(4, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)],
                *[conv(64, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3)],
            ],
            [[32, 12, 6, 2], [64, 4, 3, 3], [8, 64, 3, 3]],
            id="wide enough already, another pooling",
        ),
    ],
)
def test_it_computes_the_same_with_other_kernels(layers: list[nn.Module], wanted: list[list[int]]) -> None:
    model, difference = rewritten(Small(*layers))

    assert difference < 1e-5
    assert kernels(model) == wanted


@pytest.mark.parametrize("first", [nn.Flatten(), conv(3, 4, 5, stride=2)])
def test_preprocessing_stays_where_it_cannot_be_folded(first: nn.Module) -> None:
    nodes = GraphEditor(_to_onnx(Small(first).eval()))

    assert rewrite_for_int8(nodes, FINE) is None
    assert sum(node.op_type in {"Div", "Sub"} for node in nodes.model().graph.node) == 3


def test_pixels_go_in_as_bytes_up_to_the_first_convolution(stage: onnx.ModelProto) -> None:
    nodes = GraphEditor(stage)

    pixels = rewrite_for_int8(nodes, 127)
    model = nodes.model()

    assert not any(node.op_type in {"Div", "Sub"} for node in model.graph.node)
    (cast,) = (node for node in model.graph.node if node.op_type == "Cast")
    assert list(cast.output) == [pixels]


@pytest.mark.parametrize("largest", [127, 64])
def test_rounding_weights_shifts_nothing_on_average(stage: onnx.ModelProto, largest: int) -> None:
    """An image of the mean colour is zero after preprocessing: no weight counts, however it was rounded."""
    nodes = GraphEditor(stage)
    rewrite_for_int8(nodes, largest)
    mean = np.broadcast_to(np.rint(np.array(MEAN) * 255).astype(np.uint8), (1, 32, 32, 3))

    expected, answer = (
        in_memory_predictor(each)(np.ascontiguousarray(mean)) for each in (stage, nodes.model())
    )

    assert np.abs(expected - answer).max() < 1e-6


def test_a_mean_between_two_levels_is_wrong_at_the_border_by_less_than_one() -> None:
    _, difference = rewritten(Small(*pooled(3, 16, 5, 2), mean=(0.4913, 0.4822, 0.4465)))

    assert 0 < difference < 1e-3


def test_the_model_it_came_from_is_left_alone(stage: onnx.ModelProto) -> None:
    before = stage.SerializeToString(deterministic=True)

    nodes = GraphEditor(stage)
    rewrite_for_int8(nodes, 127)
    nodes.model()

    assert stage.SerializeToString(deterministic=True) == before
