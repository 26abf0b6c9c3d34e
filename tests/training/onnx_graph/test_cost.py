"""Parameters and multiply-adds of graphs are those of the networks they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto
from torch import nn

from tests.training.compare.conftest import Node, fully_connected, write_model
from training.errors import CheckpointError
from training.evaluation.layer_table import layer_rows
from training.export.exporter import _to_onnx
from training.networks import NETWORKS, CIFAR10Net
from training.onnx_graph.cost import CONVOLUTIONAL, FULLY_CONNECTED, RECURRENT, graph_cost

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Constants = dict[str, npt.NDArray[Any]]

RANDOM = np.random.default_rng(0)


def _floats(*shape: int) -> npt.NDArray[np.float32]:
    return RANDOM.normal(size=shape).astype(np.float32)


def _exported(network: nn.Module, path: Path) -> Path:
    path.write_bytes(_to_onnx(network).SerializeToString())
    return path


def test_cifar10net_weighs_what_the_table_and_pytorch_say(root: Path) -> None:
    found = graph_cost(root / "exported_models" / "cifar10net" / "1" / "model.onnx")
    network = CIFAR10Net()

    assert found.kind == CONVOLUTIONAL
    assert found.parameters == sum(each.numel() for each in network.parameters()) == 22_466
    assert found.multiply_adds == sum(row.multiply_adds for row in layer_rows(network)) == 3_920_000


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "recurrent" else [])
        for name in sorted({*NETWORKS} - {"cifar10net", "mean_pool"})  # those two share a table
    ],
)
def test_a_network_weighs_in_onnx_what_it_weighs_in_pytorch(name: str, tmp_path: Path) -> None:
    network = NETWORKS[name]()

    found = graph_cost(_exported(network, tmp_path / "model.onnx"))

    assert found.parameters == sum(each.numel() for each in network.parameters())
    assert found.multiply_adds == sum(row.multiply_adds for row in layer_rows(network))


def test_recurrences_count_each_step_in_each_direction(tmp_path: Path) -> None:
    first, second = nn.LSTM(96, 8), nn.GRU(8, 4, bidirectional=True)
    constants: Constants = {
        "rows": np.array([32, -1, 96]),
        "part": _floats(1, 16, 96),  # the four gates' weights come in two parts
        "state": _floats(1, 32, 8),
        "bias": _floats(1, 64),
        "weight2": _floats(2, 12, 8),
        "state2": _floats(2, 12, 4),
        "bias2": _floats(2, 24),
        "last": np.array(-1),
        "flat": np.array([-1, 8]),
        "matrix": _floats(8, 10),
        "bias3": _floats(10),
    }
    constants["other_part"] = constants["part"] + 1
    nodes: list[Node] = [
        ("Reshape", ["pixels", "rows"], ["sequence"], {}),
        ("Concat", ["part", "other_part"], ["weight"], {"axis": 1}),
        ("LSTM", ["sequence", "weight", "state", "bias"], ["states", "", ""], {"hidden_size": 8}),
        ("Squeeze", ["states", "direction"], ["sequence2"], {}),
        (
            "GRU",
            ["sequence2", "weight2", "state2", "bias2"],
            ["states2", ""],
            {"hidden_size": 4, "direction": "bidirectional"},
        ),
        ("Gather", ["states2", "last"], ["both"], {"axis": 0}),
        ("Transpose", ["both"], ["turned"], {"perm": [1, 0, 2]}),
        ("Reshape", ["turned", "flat"], ["vector"], {}),
        ("Gemm", ["vector", "matrix", "bias3"], ["logits"], {}),
    ]
    constants["direction"] = np.array([1])

    found = graph_cost(write_model(tmp_path / "model.onnx", nodes, constants))

    weights = sum(each.numel() for network in (first, second) for each in network.parameters())
    steps = 32 * (4 * 8 * (96 + 8) + 2 * 3 * 4 * (8 + 4))
    assert found.kind == RECURRENT
    assert found.parameters == weights + 90
    assert found.multiply_adds == steps + 8 * 10


def test_a_fully_connected_graph(tmp_path: Path) -> None:
    found = graph_cost(fully_connected(tmp_path / "model.onnx"))

    assert (found.kind, found.parameters, found.multiply_adds) == (FULLY_CONNECTED, 30_730, 30_720)


def test_groups_strides_and_shared_weights(tmp_path: Path) -> None:
    # 3 groups of one channel each to two; then the same 1x1 weights twice.
    nodes: list[Node] = [
        ("Conv", ["pixels", "grouped"], ["six"], {"group": 3, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("Conv", ["six", "shared"], ["again"], {}),
        ("Conv", ["again", "shared"], ["twice"], {}),
        ("BatchNormalization", ["twice", "scale", "shift", "mu", "var"], ["norm"], {}),
        ("GlobalAveragePool", ["norm"], ["means"], {}),
        ("Flatten", ["means"], ["vector"], {}),
        ("MatMul", ["vector", "matrix"], ["product"], {}),
        ("Add", ["product", "bias"], ["logits"], {}),
    ]
    constants: Constants = {
        "grouped": _floats(6, 1, 3, 3),
        "shared": _floats(6, 6, 1, 1),
        **{name: np.ones(6, np.float32) for name in ("scale", "shift", "mu", "var")},
        "matrix": _floats(6, 10),
        "bias": _floats(10),
    }

    found = graph_cost(write_model(tmp_path / "model.onnx", nodes, constants))

    assert found.parameters == 54 + 36 + 12 + 60 + 10
    assert found.multiply_adds == 16 * 16 * (6 * 9 + 2 * 36) + 60


def test_integers_between_quantize_and_dequantize(tmp_path: Path) -> None:
    nodes: list[Node] = [
        ("QuantizeLinear", ["pixels", "scale", "zero"], ["q"], {}),
        ("DequantizeLinear", ["q", "scale", "zero"], ["dq"], {}),
        ("DequantizeLinear", ["weight", "scales", "zeros"], ["w"], {"axis": 0}),
        ("DequantizeLinear", ["bias", "scales", "zeros32"], ["b"], {"axis": 0}),
        ("Conv", ["dq", "w", "b"], ["map"], {}),
        ("GlobalAveragePool", ["map"], ["means"], {}),
        ("Flatten", ["means"], ["logits"], {}),
    ]
    constants: Constants = {
        "scale": np.array(1, np.float32),
        "zero": np.array(0, np.int8),
        "scales": np.ones(10, np.float32),
        "zeros": np.zeros(10, np.int8),
        "zeros32": np.zeros(10, np.int32),
        "weight": RANDOM.integers(-9, 9, (10, 3, 5, 5)).astype(np.int8),
        "bias": np.zeros(10, np.int32),
    }

    found = graph_cost(write_model(tmp_path / "model.onnx", nodes, constants))

    assert (found.parameters, found.multiply_adds) == (760, 28 * 28 * 750)


def test_integer_operators(tmp_path: Path) -> None:
    nodes: list[Node] = [
        ("QuantizeLinear", ["pixels", "scale", "zero"], ["q"], {}),
        (
            "QLinearConv",
            ["q", "scale", "zero", "weight", "scale", "zero", "scale", "zero", "bias"],
            ["map"],
            {"strides": [32, 32]},
        ),
        ("Flatten", ["map"], ["vector"], {}),
        (
            "QLinearMatMul",
            ["vector", "scale", "zero", "matrix", "scale", "zero", "scale", "zero"],
            ["product"],
            {},
        ),
        ("DequantizeLinear", ["product", "scale", "zero"], ["logits"], {}),
    ]
    constants: Constants = {
        "scale": np.array(1, np.float32),
        "zero": np.array(0, np.uint8),
        "weight": RANDOM.integers(0, 9, (4, 3, 5, 5)).astype(np.uint8),
        "bias": np.zeros(4, np.int32),
        "matrix": RANDOM.integers(0, 9, (4, 10)).astype(np.uint8),
    }

    found = graph_cost(write_model(tmp_path / "model.onnx", nodes, constants))

    assert (found.parameters, found.multiply_adds) == (304 + 40, 300 + 40)


def test_half_floats(tmp_path: Path) -> None:
    nodes: list[Node] = [
        ("Cast", ["pixels"], ["half"], {"to": TensorProto.FLOAT16}),
        ("Conv", ["half", "weight"], ["map"], {}),
        ("GlobalAveragePool", ["map"], ["means"], {}),
        ("Flatten", ["means"], ["vector"], {}),
        ("Cast", ["vector"], ["logits"], {"to": TensorProto.FLOAT}),
    ]

    found = graph_cost(
        write_model(tmp_path / "model.onnx", nodes, {"weight": _floats(10, 3, 5, 5).astype(np.float16)})
    )

    assert (found.parameters, found.multiply_adds) == (750, 28 * 28 * 750)


def test_an_operator_that_cannot_be_counted_is_named(tmp_path: Path) -> None:
    nodes: list[Node] = [
        ("Flatten", ["pixels"], ["vector"], {}),
        ("Einsum", ["vector", "weight"], ["logits"], {"equation": "np,pk->nk"}),
    ]
    path = write_model(tmp_path / "model.onnx", nodes, {"weight": _floats(3_072, 10)})

    with pytest.raises(CheckpointError, match=r"model\.onnx cannot be counted: it has Einsum$"):
        graph_cost(path)


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\xff" * 64)

    with pytest.raises(CheckpointError, match=r"model\.onnx is not a readable ONNX model"):
        graph_cost(path)
