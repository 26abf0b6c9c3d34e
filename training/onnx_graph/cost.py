"""The cost of an ONNX graph: parameters, and multiply-adds for one image, in total and by node.

Graphs may be float32, float16 or int8 (QLinear operators, or operators between QuantizeLinear and
DequantizeLinear). Counts are those of ``training.evaluation.layer_table`` for the PyTorch network. Shapes are
measured, by running the graph on a black image.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.cifar10 import IMAGE_SHAPE
from training.errors import CheckpointError, required

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt
    import onnx

CONVOLUTIONAL, RECURRENT, FULLY_CONNECTED = "convolutional", "recurrent", "fully connected"

# By operator: the two inputs that are multiplied, and the bias, if any.
_CONVOLUTIONS = {
    "Conv": (0, 1, 2),
    "FusedConv": (0, 1, 2),
    "ConvInteger": (0, 1, None),
    "QLinearConv": (0, 3, 8),
}
_MATRIX_PRODUCTS = {
    "MatMul": (0, 1, None),
    "FusedMatMul": (0, 1, None),
    "MatMulInteger": (0, 1, None),
    "MatMulIntegerToFloat": (0, 1, 6),
    "DynamicQuantizeMatMul": (0, 1, 4),
    "QLinearMatMul": (0, 3, None),
    "Gemm": (0, 1, 2),
    "FusedGemm": (0, 1, 2),
    "QGemm": (0, 3, 6),
}
_RECURRENCES = ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM")
_RECURRENT_WEIGHTS = (1, 2, 3, 7)  # weights of the input, of the state, biases, peepholes
_SCALE_AND_SHIFT = {
    "BatchNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "PRelu": (1,),
}
_SUMS = {"Add": (0, 1), "QLinearAdd": (0, 3)}
_SAME_VALUES = ("QuantizeLinear", "DequantizeLinear", "Cast", "Identity", "Transpose", "Reshape", "Squeeze")
_UNCOUNTABLE = frozenset({
    "Attention", "ConvTranspose", "DeformConv", "Einsum", "If", "Loop", "MatMulNBits", "MultiHeadAttention",
    "QAttention", "Scan",
})  # fmt: skip


@dataclass(frozen=True)
class GraphCost:
    """Parameters and multiply-adds of a graph."""

    kind: str
    """``convolutional``, ``recurrent`` or ``fully connected``."""
    parameters: int
    """Weights and biases of convolutions, matrices and recurrences; scales and shifts of normalisations that
    were not folded. Without mean and deviation of the pixels, shapes, and quantisation scales."""
    multiply_adds: int
    """For one image, in convolutions, matrix products and recurrences. Biases, elementwise products of
    gates, pooling and quantising are not counted."""


def graph_cost(path: Path) -> GraphCost:
    """Count the parameters and multiply-adds of an exported model.

    Raises:
        CheckpointError: the graph has an operator that cannot be counted, or it cannot be read or run.
        MissingPackageError: onnx or onnxruntime is not installed.
    """
    with required("train"):
        import onnx  # noqa: PLC0415 - not needed for training
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's exceptions have no common base
        raise CheckpointError(f"{path} is not a readable ONNX model ({error})") from error
    uncountable = sorted({node.op_type for node in model.graph.node} & _UNCOUNTABLE)
    if uncountable:
        raise CheckpointError(
            f"the multiply-adds of {path} cannot be counted: it has {', '.join(uncountable)}"
        )
    graph = Graph(model)
    names = {name for node in graph.products() for name in (*node.input, node.output[0]) if name}
    try:
        shapes = shapes_of(model, names, np.zeros((1, *IMAGE_SHAPE), np.uint8))
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise CheckpointError(f"{path} cannot be run ({' '.join(str(error).split())})") from error
    return GraphCost(graph.kind(), graph.parameters(), graph.multiply_adds(shapes))


class Graph:
    """The nodes of a graph, and the stored tensors that their constants come from."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.initializers = {item.name: tuple(item.dims) for item in model.graph.initializer}
        self._maker = {name: node for node in self.nodes for name in node.output}
        self._roots = self._find_roots()

    def kind(self) -> str:
        """Return the kind of the network, as in ``GraphCost``."""
        operators = Counter(node.op_type for node in self.nodes)
        if any(operators[name] for name in _CONVOLUTIONS):
            return CONVOLUTIONAL
        return RECURRENT if any(operators[name] for name in _RECURRENCES) else FULLY_CONNECTED

    def parameters(self) -> int:
        """Count the parameters; a tensor that is used twice counts once."""
        return self.size({root for node in self.nodes for root in self.weights(node)})

    def size(self, roots: Iterable[str]) -> int:
        """Count the elements of stored tensors."""
        return sum(math.prod(self._size(root)) for root in roots)

    def weights(self, node: onnx.NodeProto) -> list[str]:
        """Return the names of the stored tensors with a node's weights, those that are multiplied first."""
        found = (sorted(self._roots.get(name, ())) for name in self._weights(node))
        return list(dict.fromkeys(itertools.chain.from_iterable(found)))

    def multiply_adds(self, shapes: Mapping[str, tuple[int, ...]]) -> int:
        """Count the multiply-adds, given the shapes of the tensors of ``products``."""
        return sum(self.multiply_adds_of(node, shapes) for node in self.products())

    def multiply_adds_of(self, node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
        """Count the multiply-adds of a node of ``products``."""
        if node.op_type in _CONVOLUTIONS:
            weight = shapes[node.input[_CONVOLUTIONS[node.op_type][1]]]
            return math.prod(shapes[node.output[0]]) * math.prod(weight[1:])
        if node.op_type in _RECURRENCES:
            *steps_and_images, _ = shapes[node.input[0]]
            weights = (math.prod(shapes[node.input[place]]) for place in (1, 2))
            return math.prod(steps_and_images) * sum(weights)
        left = shapes[node.input[_MATRIX_PRODUCTS[node.op_type][0]]]
        is_transposed = any(item.name == "transA" and item.i for item in node.attribute)
        return math.prod(shapes[node.output[0]]) * left[-2 if is_transposed else -1]

    def products(self) -> Iterator[onnx.NodeProto]:
        """Return the nodes that multiply values which depend on the image."""
        kinds = {*_CONVOLUTIONS, *_MATRIX_PRODUCTS, *_RECURRENCES}
        return (node for node in self.nodes if node.op_type in kinds and not self.is_constant(node))

    def is_constant(self, node: onnx.NodeProto) -> bool:
        """Whether a node's output does not depend on the image."""
        return all(name in self._roots for name in node.input if name)

    def _weights(self, node: onnx.NodeProto) -> list[str]:
        """Return the names of a node's inputs that are weights, if they are constants."""
        if node.op_type in _RECURRENCES:
            places: tuple[int | None, ...] = _RECURRENT_WEIGHTS
        elif node.op_type in _SUMS:
            return self._bias_of_product(node)
        else:
            table = _CONVOLUTIONS | _MATRIX_PRODUCTS | _SCALE_AND_SHIFT
            places = table.get(node.op_type, ())
        return [node.input[place] for place in places if place is not None and place < len(node.input)]

    def _bias_of_product(self, node: onnx.NodeProto) -> list[str]:
        """Return the constant that an addition adds to a product: its bias."""
        one, other = (node.input[place] for place in _SUMS[node.op_type])
        return [
            constant
            for constant, value in ((one, other), (other, one))
            if constant in self._roots and self._origin(value) in _MATRIX_PRODUCTS | _CONVOLUTIONS
        ]

    def _origin(self, name: str) -> str:
        """Return the operator that computed a tensor, before conversions and changes of layout."""
        while (node := self._maker.get(name)) is not None and node.op_type in _SAME_VALUES:
            name = node.input[0]
        return node.op_type if node is not None else ""

    def _find_roots(self) -> dict[str, frozenset[str]]:
        """Return, for each constant, the stored tensors that it is made from.

        Only the first input of an operator holds values, except for Concat; others are scales, indices,
        shapes.
        """
        roots = {name: frozenset({name}) for name in self.initializers}
        for node in self.nodes:  # in execution order
            inputs = node.input if node.op_type == "Concat" else node.input[:1]
            if node.op_type == "Constant":
                roots[node.output[0]] = frozenset({node.output[0]})
            elif inputs and all(name in roots for name in inputs):
                joined = frozenset[str]().union(*(roots[name] for name in inputs))
                roots.update(dict.fromkeys(node.output, joined))
        return roots

    def _size(self, root: str) -> tuple[int, ...]:
        if root in self.initializers:
            return self.initializers[root]
        (value,) = self._maker[root].attribute
        return tuple(value.t.dims) if value.HasField("t") else (len(value.floats) or 1,)


def shapes_of(
    model: onnx.ModelProto, names: Iterable[str], images: npt.NDArray[np.uint8]
) -> dict[str, tuple[int, ...]]:
    """Run images through a graph with one input; return the shapes of tensors and of all weights.

    Args:
        model: is not changed.
        names: names of the tensors.
        images: uint8 (n, 32, 32, 3).

    Raises:
        Exception: ONNX Runtime cannot run the graph.
    """
    import onnx  # noqa: PLC0415 - not needed for training
    import onnxruntime  # noqa: PLC0415

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    stored = {item.name: tuple(item.dims) for item in model.graph.initializer}
    known = {output.name for output in model.graph.output}
    seen = sorted(set(names) - set(stored) - {item.name for item in model.graph.input})
    for name in seen:
        if name not in known:
            watched.graph.output.add(name=name)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session: Any = onnxruntime.InferenceSession(
        watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (pixels,) = session.get_inputs()
    values = session.run(seen, {pixels.name: images})
    shapes: dict[str, tuple[int, ...]] = {pixels.name: images.shape, **stored}
    return shapes | {name: tuple(value.shape) for name, value in zip(seen, values, strict=True)}
