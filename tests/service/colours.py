"""A real model of three classes that needs no training: it names the strongest colour channel."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

COLOURS = ("red", "green", "blue")


def colour_model(
    labels: str | None = ",".join(COLOURS),
    *,
    side: int = 32,
    softmax: bool = True,
    scale: float = 32.0,
    labour: int = 0,
) -> bytes:
    """Make a real three-class model: the share of each channel in the image's light, sharpened.

    Each step of ``labour`` takes about 12 us an image and leaves the answers as they are.
    """
    turning, turning_constants = _turning(side, labour)
    nodes = [
        helper.make_node("Cast", ["images"], ["light"], to=TensorProto.FLOAT),
        *turning,
        helper.make_node("ReduceMean", ["turned", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "scale"], ["logits"]),
        helper.make_node("Softmax" if softmax else "Identity", ["logits"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", side, side, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])],
        [
            numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
            numpy_helper.from_array(np.array(scale, np.float32), "scale"),
            *turning_constants,
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    if labels is not None:
        helper.set_model_props(model, {"labels": labels, "accuracy_top1": "1.0"})
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _turning(side: int, steps: int) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Turn images sideways by a pixel a step, in a laborious way: by a matrix product."""
    nodes = [
        helper.make_node("Reshape", ["light", "rows"], ["turned0"]),
        *(
            helper.make_node("MatMul", [f"turned{step}", "turn"], [f"turned{step + 1}"])
            for step in range(steps)
        ),
        helper.make_node("Reshape", [f"turned{steps}", "pixels"], ["turned"]),
    ]
    constants: dict[str, np.ndarray] = {
        "rows": np.array([-1, side, side * 3], np.int64),
        "turn": np.roll(np.eye(side * 3, dtype=np.float32), 3, axis=0),
        "pixels": np.array([-1, side, side, 3], np.int64),
    }
    if not steps:
        return [helper.make_node("Identity", ["light"], ["turned"])], []
    return nodes, [numpy_helper.from_array(value, name) for name, value in constants.items()]


def expected_probabilities(images: np.ndarray, scale: float = 32.0) -> np.ndarray:
    """Compute what the colour model answers, in NumPy: uint8 (n, 32, 32, 3) to float64 (n, 3)."""
    scores = np.exp(images.mean(axis=(1, 2)) / scale)
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))


def fragile_model() -> bytes:
    """Make the colour model fail on images that are white all over, and so every batch with such an image."""
    model = onnx.load_from_string(colour_model())
    graph = model.graph
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([1, 2, 3], np.int64), "all axes"),
            numpy_helper.from_array(np.array(255, np.float32), "white"),
            numpy_helper.from_array(np.zeros((1, 3), np.float32), "one row"),
        ]
    )
    nodes = [
        helper.make_node("ReduceMin", ["light", "all axes"], ["darkest"], keepdims=0),
        helper.make_node("GreaterOrEqual", ["darkest", "white"], ["is white"]),
        helper.make_node("Cast", ["is white"], ["row"], to=TensorProto.INT64),
        helper.make_node("Gather", ["one row", "row"], ["nothing"]),  # there is no row 1
        helper.make_node("Add", ["sure logits", "nothing"], ["logits"]),
    ]
    division = next(node for node in graph.node if node.op_type == "Div")
    division.output[0] = "sure logits"
    place = list(graph.node).index(division) + 1
    kept = [*graph.node[:place], *nodes, *graph.node[place:]]
    del graph.node[:]
    graph.node.extend(kept)
    onnx.checker.check_model(model)
    return model.SerializeToString()
