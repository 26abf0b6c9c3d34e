"""A real int8 model whose sums of two products leave 16 bits, and what saturating processors answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.service.manifests import described

if TYPE_CHECKING:
    import numpy.typing as npt

LABELS = ("yellow", "blue", "black")
BRIGHT = np.full((2, 32, 32, 3), (230, 230, 250), np.uint8)
"""Images whose red and green saturate together."""
_SCALE = 6_000.0
_INT16 = 32_767


def int8_model(largest: int = 127) -> bytes:
    """Make a model that weighs an image's mean colours: red and green together, blue, and nothing.

    Args:
        largest: the size of its weights; with more than 64 a pair of products can leave 16 bits.
    """
    constants: dict[str, np.ndarray] = {
        "axes": np.array([1, 2], np.int64),
        "one": np.array(1, np.float32),
        "zero": np.array(0, np.uint8),
        "weights": np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]], np.int8) * np.int8(largest),
        "weight zero": np.array(0, np.int8),
        "scale": np.array(_SCALE, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["light"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["light", "axes"], ["mean"], keepdims=0),
        helper.make_node("QuantizeLinear", ["mean", "one", "zero"], ["bytes"]),
        helper.make_node("DequantizeLinear", ["bytes", "one", "zero"], ["colours"]),
        helper.make_node("DequantizeLinear", ["weights", "one", "weight zero"], ["wide"]),
        helper.make_node("MatMul", ["colours", "wide"], ["sums"]),
        helper.make_node("Div", ["sums", "scale"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "pairs",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 32, 32, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {"labels": ",".join(LABELS)})
    return model.SerializeToString()


def int8_model_with_a_shared_zero_point() -> bytes:
    """Make a model of two layers whose 8-bit weights name the same zero point.

    ONNX Runtime 1.32 cannot load it with exact sums where VNNI is missing.
    """
    model = onnx.load_from_string(int8_model())
    layer = [
        helper.make_node("QuantizeLinear", ["first", "step", "zero"], ["first bytes"]),
        helper.make_node("DequantizeLinear", ["first bytes", "step", "zero"], ["first colours"]),
        helper.make_node("DequantizeLinear", ["as it is", "one", "weight zero"], ["wide as it is"]),
        helper.make_node("MatMul", ["first colours", "wide as it is"], ["sums"]),
    ]
    place = next(index for index, node in enumerate(model.graph.node) if node.op_type == "MatMul")
    model.graph.node[place].output[0] = "first"
    nodes = [*model.graph.node[: place + 1], *layer, *model.graph.node[place + 1 :]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    constants = {"step": np.array(300, np.float32), "as it is": np.eye(3, dtype=np.int8) * np.int8(127)}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    return model.SerializeToString()


def answers(
    images: npt.NDArray[np.uint8], largest: int = 127, *, saturated: bool = False
) -> npt.NDArray[np.float64]:
    """Compute what the model answers (n, 3): exactly, or with pairs of products cut off at 16 bits."""
    red, green, blue = np.rint(images.mean(axis=(1, 2))).T * largest
    pair = np.minimum(red + green, _INT16) if saturated else red + green
    powers = np.exp(np.stack([pair, blue, np.zeros_like(blue)], axis=1) / _SCALE)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def int8_manifest(content: bytes, largest: int = 127, *, saturated: bool = False) -> bytes:
    """Describe the model, with the answers to bright images that an exact or a saturating processor gives."""
    return described(content, LABELS, (BRIGHT, answers(BRIGHT, largest, saturated=saturated)))
