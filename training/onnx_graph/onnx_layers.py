"""The layers of a float ONNX graph in execution order, with geometry, weights and receptive fields.

Layers are named after their weights, or after their operator. Conversions and changes of layout are no
layers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.cifar10 import IMAGE_SHAPE
from training.errors import CheckpointError
from training.onnx_graph.cost import Graph, shapes_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import onnx

# By operator: its description, and the name of its layers if no weights name them.
_KINDS = {
    "Conv": ("convolution", "conv"),
    "MaxPool": ("max pooling", "pool"),
    "AveragePool": ("mean pooling", "pool"),
    "GlobalMaxPool": ("maximum of all places", "pool"),
    "GlobalAveragePool": ("mean of all places", "pool"),
    "ReduceMax": ("maximum of all places", "pool"),
    "ReduceMean": ("mean of all places", "pool"),
    "Relu": ("ReLU", "relu"),
    "Tanh": ("tanh", "tanh"),
    "Sigmoid": ("sigmoid", "sigmoid"),
    "Gemm": ("fully connected", "fc"),
    "LSTM": ("LSTM", "lstm"),
    "Add": ("sum", "sum"),
    "Softmax": ("softmax", "softmax"),
}
_WINDOWS = frozenset({"Conv", "MaxPool", "AveragePool"})
_SEE_ALL = frozenset({"GlobalMaxPool", "GlobalAveragePool", "ReduceMax", "ReduceMean", "Gemm", "LSTM"})
_NORMALISING = frozenset({"Cast", "Div", "Sub", "Mul", "Transpose"})
_NO_VALUES = frozenset({"Shape"})
_QUANTISED = "QuantizeLinear"
_MAP_AXES = 4
_IMAGES = 2
"""Images run through the graph; an axis of this size is the batch."""


@dataclass(frozen=True)
class ReceptiveField:
    """The square of input pixels that a value of a feature map depends on.

    Computed as in https://distill.pub/2019/computing-receptive-fields/.
    """

    size: int = 1
    stride: int = 1
    """Pixels between the squares of neighbouring values."""
    start: int = 0
    """Row and column where the first value's square begins; negative in the padding."""

    def through(self, kernel: int, stride: int, padding: int) -> ReceptiveField:
        """Return the receptive field of a window that slides over such values."""
        return ReceptiveField(
            self.size + (kernel - 1) * self.stride, self.stride * stride, self.start - padding * self.stride
        )

    def union(self, other: ReceptiveField) -> ReceptiveField:
        """Return the receptive field of a value that is computed from both."""
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        return ReceptiveField(end - start, self.stride, start)


@dataclass(frozen=True, kw_only=True)
class OnnxLayer:
    """One layer."""

    name: str
    kind: str
    tensor: str
    """Its output in the graph."""
    shape: tuple[int, ...]
    """Shape of the output for one image: (channels, height, width), (steps, features) or (features,)."""
    kernel: int | None
    stride: int | None
    padding: int | None
    parameters: int
    multiply_adds: int
    """For one image; bias additions and comparisons are not counted."""
    receptive_field: ReceptiveField | None
    """None for the whole image."""
    weights: str | None
    """Stored tensor of its weights: (outputs, inputs, height, width) or (outputs, inputs)."""


def layers_of(model: onnx.ModelProto) -> list[OnnxLayer]:
    """List the layers of a model, the normalised image first.

    Raises:
        CheckpointError: it is quantised, has an unknown structure, or cannot be run.
    """
    graph = Graph(model)
    nodes = [node for node in graph.nodes if not graph.is_constant(node)]
    if any(node.op_type == _QUANTISED for node in nodes):
        raise CheckpointError("the model is quantised; take the float model it was made from")
    named = {name for node in nodes for name in (*node.input, *node.output) if name}
    images = np.zeros((_IMAGES, *IMAGE_SHAPE), np.uint8)
    try:
        shapes = shapes_of(model, named, images)
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise CheckpointError(f"the model cannot be run ({' '.join(str(error).split())})") from error
    return list(_LayerWalk(graph, nodes, shapes).layers(model.graph.input[0].name))


class _LayerWalk:
    """Visits the nodes once, in execution order."""

    def __init__(
        self, graph: Graph, nodes: list[onnx.NodeProto], shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        self._graph = graph
        self._nodes = nodes
        self._shapes = shapes
        self._fields: dict[str, ReceptiveField | None] = {}
        self._named: Counter[str] = Counter()

    def layers(self, images: str) -> Iterator[OnnxLayer]:
        normalised = self._normalised(images)
        self._fields[images] = ReceptiveField()
        for node in self._nodes:
            if node.op_type in _NO_VALUES:
                continue
            window = _window(node) if node.op_type in _WINDOWS else None
            self._fields.update(dict.fromkeys(node.output, self._receptive_field(node, window)))
            if node.output[0] == normalised:
                yield self._layer(node, "normalise", "pixels, normalised", None)
            elif self._is_layer(node):
                yield self._layer(node, self._name(node), _KINDS[node.op_type][0], window)

    def _normalised(self, images: str) -> str:
        """Return the normalised image: the input after elementwise steps and a leading transposition."""
        tensor = images
        while True:
            consumers = [n for n in self._nodes if tensor in n.input and n.op_type not in _NO_VALUES]
            is_last = len(consumers) != 1 or consumers[0].op_type not in _NORMALISING
            if is_last or (consumers[0].op_type == "Transpose" and tensor != images):
                return tensor
            tensor = consumers[0].output[0]

    def _is_layer(self, node: onnx.NodeProto) -> bool:
        if node.op_type == "Add":  # of two branches; a constant is a bias
            return all(name in self._fields for name in node.input)
        return node.op_type in _KINDS

    def _layer(
        self, node: onnx.NodeProto, name: str, kind: str, window: tuple[int, int, int] | None
    ) -> OnnxLayer:
        tensor = self._output(node)
        kernel, stride, padding = window or (None, None, None)
        weights = self._graph.weights(node)
        products = {id(product) for product in self._graph.products()}
        multiply_adds = self._graph.multiply_adds_of(node, self._shapes) if id(node) in products else 0
        return OnnxLayer(
            name=name,
            kind=kind,
            tensor=tensor,
            shape=self._shapes[tensor][1:],
            kernel=kernel,
            stride=stride,
            padding=padding,
            parameters=self._graph.size(weights),
            multiply_adds=multiply_adds // _IMAGES,
            receptive_field=self._fields[node.output[0]],
            weights=node.input[1] if node.op_type in {"Conv", "Gemm"} else None,
        )

    def _output(self, node: onnx.NodeProto) -> str:
        """Return the output of a node in batch-first layout: an LSTM's own begins with the steps."""
        tensor = node.output[0]
        while self._shapes[tensor][0] != _IMAGES or len(self._shapes[tensor]) > _MAP_AXES:
            following = [n for n in self._nodes if n.input[0] == tensor and n.op_type not in _NO_VALUES]
            if len(following) != 1:
                raise CheckpointError(f"the output of {node.name} has an unknown layout")
            tensor = following[0].output[0]
        return tensor

    def _receptive_field(
        self, node: onnx.NodeProto, window: tuple[int, int, int] | None
    ) -> ReceptiveField | None:
        inputs = [self._fields[name] for name in node.input if name in self._fields]
        fields = [field for field in inputs if field is not None]
        if node.op_type in _SEE_ALL or not fields or len(fields) < len(inputs):
            return None
        field = reduce(ReceptiveField.union, fields)
        return field.through(*window) if window is not None else field

    def _name(self, node: onnx.NodeProto) -> str:
        """Name a layer after its weights' path in the network, or after its operator, numbered."""
        weights = self._graph.weights(node)
        if weights and ".layers." in weights[0]:
            *path, _ = weights[0].partition(".layers.")[2].split(".")
            # A path may end in the operator: stem.conv of a convolution, lstm.lstm of an LSTM.
            is_redundant = len(path) > 1 and path[-1] == _KINDS[node.op_type][1]
            return ".".join(path[:-1] if is_redundant else path)
        kind = _KINDS[node.op_type][1]
        self._named[kind] += 1
        return f"{kind}{self._named[kind]}" if kind != "softmax" else kind


def _window(node: onnx.NodeProto) -> tuple[int, int, int]:
    """Return kernel, stride and padding of a convolution or pooling. Raises CheckpointError."""
    from onnx import helper  # noqa: PLC0415 - not needed for training

    attributes: dict[str, Any] = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    kernels, strides = set(attributes.get("kernel_shape", ())), set(attributes.get("strides", (1,)))
    pads, dilations = set(attributes.get("pads", (0,))), set(attributes.get("dilations", (1,)))
    is_plain = attributes.get("auto_pad", b"NOTSET") == b"NOTSET" and dilations == {1}
    if not is_plain or not len(kernels) == len(strides) == len(pads) == 1:
        raise CheckpointError(
            f"{node.name} has kernel {sorted(kernels)}, stride {sorted(strides)} and padding {sorted(pads)}, "
            "wanted square ones without dilation"
        )
    return int(kernels.pop()), int(strides.pop()), int(pads.pop())
