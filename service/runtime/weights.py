"""Reads the int8 weights of a model file, without the package onnx.

An ``.onnx`` file is a protobuf message; the few fields that lead to its weights are declared here with their
numbers in onnx.proto. https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST_PORTABLE = 64
"""Largest absolute int8 weight for which two products with uint8 activations always fit in 16 bits:
255 * (64 + 64) <= 32,767."""
_INT8 = 3  # TensorProto.DataType
_FIELD = descriptor_pb2.FieldDescriptorProto
_MESSAGES: dict[str, list[tuple[str, int, Any]]] = {
    "Model": [("graph", 7, "Graph")],
    "Graph": [("node", 1, "Node"), ("initializer", 5, "Tensor")],
    "Node": [("attribute", 5, "Attribute")],
    "Attribute": [("t", 5, "Tensor"), ("g", 6, "Graph")],
    "Tensor": [
        ("dims", 1, _FIELD.TYPE_INT64),
        ("data_type", 2, _FIELD.TYPE_INT32),
        ("int32_data", 5, _FIELD.TYPE_INT32),
        ("raw_data", 9, _FIELD.TYPE_BYTES),
    ],
}
_REPEATED = {"node", "initializer", "attribute", "dims", "int32_data"}


def largest_int8_weight(content: bytes) -> int:
    """Return the largest absolute int8 weight of an ``.onnx`` file.

    Returns:
        0 to 128; 0 if there is no int8 tensor of two or more axes, or the content cannot be parsed.
    """
    try:
        graph = _model_class().FromString(content).graph
    except DecodeError:
        return 0
    sizes = (_largest(tensor) for tensor in _tensors(graph))
    return max(sizes, default=0)


def _tensors(graph: Any) -> Iterator[Any]:  # noqa: ANN401 - a message class made below
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:  # constants, and the subgraphs of control flow
            yield attribute.t
            yield from _tensors(attribute.g)


def _largest(tensor: Any) -> int:  # noqa: ANN401
    if tensor.data_type != _INT8 or len(tensor.dims) < 2:  # noqa: PLR2004 - zero points have one axis
        return 0
    values = np.frombuffer(tensor.raw_data, np.int8) if tensor.raw_data else np.array(tensor.int32_data)
    return max(int(values.max(initial=0)), -int(values.min(initial=0)))


@cache
def _model_class() -> Any:  # noqa: ANN401
    """Build the message class, in a pool of its own: the default pool may hold onnx.proto."""
    file = descriptor_pb2.FileDescriptorProto(name="weights.proto", package="weights")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            label = _FIELD.LABEL_REPEATED if field in _REPEATED else _FIELD.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                added.type, added.type_name = _FIELD.TYPE_MESSAGE, f".weights.{kind}"
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("weights.Model"))
