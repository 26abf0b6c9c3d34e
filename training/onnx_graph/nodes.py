"""Finds nodes of an ONNX graph by their connections; adds, replaces and removes nodes."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    import onnx


class GraphEditor:
    """Edits a copy of a model's graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        from onnx import numpy_helper, shape_inference  # noqa: PLC0415 - not needed for training

        self._model = copy.deepcopy(model)
        self._graph = self._model.graph
        self._helper = numpy_helper
        self._constants = {value.name: numpy_helper.to_array(value) for value in self._graph.initializer}
        inferred = shape_inference.infer_shapes(model).graph
        self._shapes = {
            value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
            for value in (*inferred.value_info, *inferred.input, *inferred.output)
        }
        self._added = 0

    def model(self) -> onnx.ModelProto:
        """Return the edited model, sorted, without unused nodes and tensors."""
        self._drop_unused()
        self._sort()
        del self._graph.value_info[:]  # shapes before the edits
        return self._model

    def of_type(self, kind: str) -> Iterator[onnx.NodeProto]:
        """Iterate over the nodes of an operator."""
        return (node for node in self._graph.node if node.op_type == kind)

    def chain(self, tensor: str, kinds: Sequence[str]) -> list[onnx.NodeProto]:
        """Return the nodes of these operators that follow a tensor, each the only consumer of the one before.

        Empty if the graph continues otherwise.
        """
        steps: list[onnx.NodeProto] = []
        for kind in kinds:
            consumers = [node for node in self._graph.node if tensor in node.input]
            if len(consumers) != 1 or consumers[0].op_type != kind or consumers[0].input[0] != tensor:
                return []
            steps.append(consumers[0])
            tensor = consumers[0].output[0]
        return steps

    def constant(self, name: str) -> npt.NDArray[Any] | None:
        """Return a stored tensor; None if the tensor is computed."""
        return self._constants.get(name)

    def shape(self, name: str) -> list[int]:
        """Return the shape of a tensor of the original model; 0 for a dynamic size."""
        return self._shapes.get(name, [])

    def attributes(self, node: onnx.NodeProto) -> dict[str, Any]:
        """Return a node's attributes."""
        from onnx import helper  # noqa: PLC0415

        return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}

    def tensor(self, value: npt.NDArray[Any]) -> str:
        """Store a tensor under a new name."""
        name = self._new_name("tensor")
        self._constants[name] = value
        self._graph.initializer.append(self._helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, inputs: Sequence[str], *, shape: Sequence[int] = (), **settings: Any) -> str:  # noqa: ANN401
        """Add a node with attributes ``settings``; return the name of its only output.

        The shape of a Reshape becomes its last input.
        """
        from onnx import helper  # noqa: PLC0415

        output = self._new_name(kind.lower())
        names = [*inputs, *([self.tensor(np.array(shape, np.int64))] if shape else [])]
        self._graph.node.append(helper.make_node(kind, names, [output], name=f"node_{output}", **settings))
        return output

    def replace(self, node: onnx.NodeProto, tensor: str) -> None:
        """Remove a node, and use ``tensor`` in place of its output."""
        self.reconnect(node.output[0], tensor)
        self._graph.node.remove(node)

    def reconnect(self, old: str, new: str) -> None:
        """Replace the input ``old`` of all nodes by ``new``."""
        for node in self._graph.node:
            for place, name in enumerate(node.input):
                if name == old:
                    node.input[place] = new

    def change(self, node: onnx.NodeProto, inputs: Sequence[str], **settings: Any) -> None:  # noqa: ANN401
        """Replace all inputs and attributes of a node."""
        from onnx import helper  # noqa: PLC0415

        del node.input[:], node.attribute[:]
        node.input.extend(inputs)
        node.attribute.extend(helper.make_attribute(name, value) for name, value in settings.items())

    def _new_name(self, kind: str) -> str:
        self._added += 1
        return f"{kind}_{self._added}"

    def _drop_unused(self) -> None:
        outputs = {value.name for value in self._graph.output}
        while True:
            used = outputs | {name for node in self._graph.node for name in node.input}
            unused = [node for node in self._graph.node if not used & set(node.output)]
            if not unused:
                break
            for node in unused:
                self._graph.node.remove(node)
        kept: list[onnx.TensorProto] = [value for value in self._graph.initializer if value.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)

    def _sort(self) -> None:
        """Sort the nodes topologically."""
        waiting = list(self._graph.node)
        known = {"", *(value.name for value in self._graph.input)}
        known |= {value.name for value in self._graph.initializer}
        del self._graph.node[:]
        while waiting:
            ready = [node for node in waiting if known >= set(node.input)]
            if not ready:
                raise ValueError("the graph has a cycle")
            for node in ready:
                self._graph.node.append(node)
                known |= set(node.output)
            waiting = [node for node in waiting if not known >= set(node.output)]
