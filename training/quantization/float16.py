"""Converts a float32 graph to float16, for GPUs; inputs stay uint8 and probabilities float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.onnx_graph.nodes import GraphEditor

if TYPE_CHECKING:
    import onnx


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert weights and arithmetic to float16, except the final softmax.

    The 11 significant bits suffice for every layer (pixels are integers up to 255, and are divided first),
    but not for probabilities that add up to one.
    """
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415 - not needed for training

    half = GraphEditor(model).model()
    for value in half.graph.initializer:
        if value.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(value)
            value.CopyFrom(numpy_helper.from_array(array.astype(np.float16), value.name))
    for node in half.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
            elif attribute.HasField("t") and attribute.t.data_type == TensorProto.FLOAT:
                array = numpy_helper.to_array(attribute.t)
                attribute.t.CopyFrom(numpy_helper.from_array(array.astype(np.float16)))
    last = next(node for node in half.graph.node if half.graph.output[0].name in node.output)
    place = list(half.graph.node).index(last)
    wide = f"{last.input[0]}_float32"
    cast = helper.make_node("Cast", [last.input[0]], [wide], name=f"node_{wide}", to=TensorProto.FLOAT)
    last.input[0] = wide
    half.graph.node.insert(place, cast)
    return half
