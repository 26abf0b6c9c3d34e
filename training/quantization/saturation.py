"""Whether sums of two int8 products can leave 16 bits, proved from the weights alone.

Where a processor has no instruction for sums of four products (VNNI on x86), kernels multiply uint8
activations with int8 weights pair by pair, and each pair's sum is cut off at 16 bits (the instruction
VPMADDUBSW). With activations up to 255 a pair of weights fits if ``255 * (|w_i| + |w_j|) <= 32,767``: always,
if no weight is beyond 64 in size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.onnx_graph.nodes import Nodes

if TYPE_CHECKING:
    import onnx

LARGEST_PAIR = 128
"""Largest sum of two weights' sizes of which no pair of products leaves 16 bits: 32,767 // 255."""


def largest_pair(model: onnx.ModelProto) -> int:
    """Return the largest sum of two int8 weights' sizes that a kernel could pair.

    Kernels pair weights of one output channel, in orders of their own: the two largest of each channel are
    a bound for all of them.

    Args:
        model: a graph with QuantizeLinear and DequantizeLinear.

    Returns:
        0 if it has no int8 weights.
    """
    nodes = Nodes(model)
    largest = 0
    for node in nodes.of_type("DequantizeLinear"):
        weight, scale = nodes.constant(node.input[0]), nodes.constant(node.input[1])
        if weight is None or weight.dtype != np.int8 or weight.ndim < 2:  # noqa: PLR2004
            continue
        sizes = np.abs(weight.astype(np.int32))
        if scale is not None and scale.size > 1:
            sizes = np.moveaxis(sizes, nodes.attributes(node).get("axis", 1), 0).reshape(scale.size, -1)
        else:
            sizes = sizes.reshape(1, -1)
        largest = max(largest, int(np.sort(sizes, axis=1)[:, -2:].sum(axis=1).max()))
    return largest


def answers_alike_everywhere(model: onnx.ModelProto) -> bool:
    """Whether no pair of products can leave 16 bits, so that every processor gives the same answers."""
    return largest_pair(model) <= LARGEST_PAIR
