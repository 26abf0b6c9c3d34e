"""Checks, from the weights alone, that sums of two int8 products cannot saturate 16 bits.

On x86 processors without VNNI, kernels multiply uint8 activations with int8 weights in pairs, and the sum of
a pair saturates at 16 bits (instruction VPMADDUBSW). With activations up to 255, a pair of weights is safe if
``255 * (|w_i| + |w_j|) <= 32,767``, which holds if no absolute weight exceeds 64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.onnx_graph.nodes import GraphEditor

if TYPE_CHECKING:
    import onnx

LARGEST_PAIR = 128
"""Largest sum of two absolute weights whose products cannot saturate: 32,767 // 255."""


def largest_pair(model: onnx.ModelProto) -> int:
    """Return the largest sum of two absolute int8 weights that a kernel could pair; 0 without int8 weights.

    Kernels pair weights of one output channel in various orders, so this adds the two largest of each
    channel.

    Args:
        model: a graph with QuantizeLinear and DequantizeLinear.
    """
    nodes = GraphEditor(model)
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


def is_portable(model: onnx.ModelProto) -> bool:
    """Whether no pair of products can saturate, so that every processor gives the same probabilities."""
    return largest_pair(model) <= LARGEST_PAIR
