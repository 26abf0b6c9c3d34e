"""Float64 evaluation agrees with ONNX Runtime, and is the same on every processor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from training.evaluation.metrics import onnx_predictor
from training.export import float64_reference as exact
from training.export.float64_reference import activations, softmax_predictor

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["cifar10net", "mean_pool", "lenet"])
def test_the_answers_are_those_of_onnx_runtime(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "_BATCH", 5)
    path = root / "exported_models" / name / "1" / "model.onnx"
    model = onnx.load(path)

    batches = list(activations(model, IMAGES))

    answers = np.concatenate([values[model.graph.output[0].name] for values in batches])
    assert [len(values[model.graph.output[0].name]) for values in batches] == [5, 2]
    assert {value.dtype for values in batches for value in values.values()} == {np.dtype(np.float32)}
    assert np.abs(answers - onnx_predictor(path)(IMAGES)).max() < 2e-6


def _pool(x: npt.NDArray[Any], **settings: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Pool by maximum, as ``activations`` does and as ONNX's own implementation does."""
    node = helper.make_node("MaxPool", ["x"], ["pooled"], **settings)
    doubled = helper.make_node("Mul", ["pooled", "one"], ["y"])
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    one = numpy_helper.from_array(np.array(1, np.float32), "one")
    graph = helper.make_graph([node, doubled], "pool", sides[:1], sides[1:], [one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    (values,) = activations(model, x)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x.astype(np.float32)})
    return values["y"], np.asarray(expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        {"kernel_shape": [1, 4], "strides": [1, 4]},
        {"kernel_shape": [3, 2], "strides": [2, 3]},
        {"kernel_shape": [3, 3]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [2, 2], "strides": [2, 2], "dilations": [2, 2]},
    ],
)
def test_pooling_is_that_of_onnx(settings: dict[str, Any]) -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 9, 11)).astype(np.float64)

    got, expected = _pool(x, **settings)

    assert np.array_equal(got, expected.astype(np.float32))


def test_the_softmax_is_computed_in_float64(root: Path) -> None:
    path = root / "exported_models/cifar10net_int8/1/model.onnx"

    answers = softmax_predictor(path.read_bytes())(IMAGES)

    assert answers.dtype == np.float32
    assert np.abs(answers.sum(axis=1, dtype=np.float64) - 1).max() < 1e-7
    assert 0 < np.abs(answers - onnx_predictor(path)(IMAGES)).max() < 1e-6


def test_a_graph_that_ends_otherwise_is_run_as_it_is(root: Path, tmp_path: Path) -> None:
    model = onnx.load(root / "exported_models/cifar10net/1/model.onnx")
    (output,) = model.graph.output
    model.graph.node.append(helper.make_node("Identity", [output.name], ["same"]))
    output.name = "same"
    onnx.save(model, tmp_path / "model.onnx")

    answers = softmax_predictor((tmp_path / "model.onnx").read_bytes())(IMAGES)

    assert np.array_equal(answers, onnx_predictor(tmp_path / "model.onnx")(IMAGES))
