"""The layers of an ONNX graph, in the order in which an image meets them.

In: a graph of floats that takes images. Out: of each layer its name, geometry, weights and the tensor that it
gives, with what of the image a value of that tensor can see. Steps that only store values otherwise are no
layers. Knows nothing of PyTorch: names are those of the weights, or made from what a layer does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.sources import IMAGE_SHAPE
from training.errors import CheckpointError
from training.onnx_graph.cost import Graph, shapes_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import onnx

# What an operator is to people, and what its layers are called where no weights name them.
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
"""Sent through the graph; an axis of that size is the batch."""


@dataclass(frozen=True)
class Sight:
    """The square of input pixels that a value of a map can see.

    As https://distill.pub/2019/computing-receptive-fields/ has it.
    """

    size: int = 1
    stride: int = 1
    """Pixels between the squares of two values that are neighbours."""
    start: int = 0
    """Row and column of the first value's square; negative where it begins in the padding."""

    def through(self, kernel: int, stride: int, padding: int) -> Sight:
        """See through a window that slides over such values."""
        return Sight(
            self.size + (kernel - 1) * self.stride, self.stride * stride, self.start - padding * self.stride
        )

    def with_(self, other: Sight) -> Sight:
        """See what both see, from a value that is made of both."""
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        return Sight(end - start, self.stride, start)


@dataclass(frozen=True, kw_only=True)
class OnnxLayer:
    """One layer."""

    name: str
    kind: str
    tensor: str
    """What it gives, in the graph."""
    shape: tuple[int, ...]
    """Of that for one image: (channels, height, width), (steps, features) or (features,)."""
    kernel: int | None
    stride: int | None
    padding: int | None
    parameters: int
    multiply_adds: int
    """Of one image; additions of a bias and comparisons are not counted."""
    sight: Sight | None
    """None is all of the image."""
    weights: str | None
    """The stored tensor that it multiplies by: (outputs, inputs, height, width) or (outputs, inputs)."""


def layers_of(model: onnx.ModelProto) -> list[OnnxLayer]:
    """List the layers of a model, the normalised image first.

    Raises:
        CheckpointError: it has an operator that is not understood here, such as those of integers, or it
            cannot be run.
    """
    graph = Graph(model)
    nodes = [node for node in graph.nodes if not graph.is_constant(node)]
    if any(node.op_type == _QUANTISED for node in nodes):
        raise CheckpointError(
            "the model's layers are of integers; look inside the one of floats that it was made from"
        )
    named = {name for node in nodes for name in (*node.input, *node.output) if name}
    images = np.zeros((_IMAGES, *IMAGE_SHAPE), np.uint8)
    try:
        shapes = shapes_of(model, named, images)
    except Exception as error:  # onnxruntime's own types share no base but Exception
        raise CheckpointError(f"the model cannot be run ({' '.join(str(error).split())})") from error
    return list(_Walk(graph, nodes, shapes).layers(model.graph.input[0].name))


class _Walk:
    """Goes through the nodes once, from the image on."""

    def __init__(
        self, graph: Graph, nodes: list[onnx.NodeProto], shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        self._graph = graph
        self._nodes = nodes
        self._shapes = shapes
        self._sights: dict[str, Sight | None] = {}
        self._named: Counter[str] = Counter()

    def layers(self, images: str) -> Iterator[OnnxLayer]:
        normalised = self._normalised(images)
        self._sights[images] = Sight()
        for node in self._nodes:
            if node.op_type in _NO_VALUES:
                continue
            window = _window(node) if node.op_type in _WINDOWS else None
            self._sights.update(dict.fromkeys(node.output, self._sight(node, window)))
            if node.output[0] == normalised:
                yield self._layer(node, "normalise", "pixels, normalised", None)
            elif self._is_layer(node):
                yield self._layer(node, self._name(node), _KINDS[node.op_type][0], window)

    def _normalised(self, images: str) -> str:
        """Follow the image as long as only its values, or first of all its axes, are changed."""
        tensor = images
        while True:
            takers = [n for n in self._nodes if tensor in n.input and n.op_type not in _NO_VALUES]
            is_last = len(takers) != 1 or takers[0].op_type not in _NORMALISING
            if is_last or (takers[0].op_type == "Transpose" and tensor != images):
                return tensor
            tensor = takers[0].output[0]

    def _is_layer(self, node: onnx.NodeProto) -> bool:
        if node.op_type == "Add":  # of two ways; of a constant it is a bias
            return all(name in self._sights for name in node.input)
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
            sight=self._sights[node.output[0]],
            weights=node.input[1] if node.op_type in {"Conv", "Gemm"} else None,
        )

    def _output(self, node: onnx.NodeProto) -> str:
        """Find where what a node gives has a row an image: that of an LSTM begins with the steps."""
        tensor = node.output[0]
        while self._shapes[tensor][0] != _IMAGES or len(self._shapes[tensor]) > _MAP_AXES:
            following = [n for n in self._nodes if n.input[0] == tensor and n.op_type not in _NO_VALUES]
            if len(following) != 1:
                raise CheckpointError(f"what {node.name} gives is not understood")
            tensor = following[0].output[0]
        return tensor

    def _sight(self, node: onnx.NodeProto, window: tuple[int, int, int] | None) -> Sight | None:
        seen = [self._sights[name] for name in node.input if name in self._sights]
        if node.op_type in _SEE_ALL:
            return None
        sight, *others = seen or [None]
        for other in others:
            sight = None if sight is None or other is None else sight.with_(other)
        return sight.through(*window) if sight is not None and window is not None else sight

    def _name(self, node: onnx.NodeProto) -> str:
        """Name a layer by its weights' path in the network, or by what it does and how many did before."""
        weights = self._graph.weights(node)
        if weights and ".layers." in weights[0]:
            *path, _ = weights[0].partition(".layers.")[2].split(".")
            # A path may say the same twice: stem.conv of a convolution, lstm.lstm of an LSTM.
            is_told = len(path) > 1 and path[-1] == _KINDS[node.op_type][1]
            return ".".join(path[:-1] if is_told else path)
        kind = _KINDS[node.op_type][1]
        self._named[kind] += 1
        return f"{kind}{self._named[kind]}" if kind != "softmax" else kind


def _window(node: onnx.NodeProto) -> tuple[int, int, int]:
    """Return kernel, stride and padding of what slides over a map. Raises CheckpointError."""
    from onnx import helper  # noqa: PLC0415 - whoever has a model has it

    told: dict[str, Any] = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    kernels, strides = set(told.get("kernel_shape", ())), set(told.get("strides", (1,)))
    pads, dilations = set(told.get("pads", (0,))), set(told.get("dilations", (1,)))
    is_plain = told.get("auto_pad", b"NOTSET") == b"NOTSET" and dilations == {1}
    if not is_plain or not len(kernels) == len(strides) == len(pads) == 1:
        raise CheckpointError(
            f"{node.name} slides a window of {sorted(kernels)} by {sorted(strides)} with a border of "
            f"{sorted(pads)}, wanted a square without gaps"
        )
    return int(kernels.pop()), int(strides.pop()), int(pads.pop())
