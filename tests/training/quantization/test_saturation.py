"""The bound on pairs of weights holds for every order in which kernels pair them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from training.quantization.saturation import LARGEST_PAIR, is_portable, largest_pair

if TYPE_CHECKING:
    from pathlib import Path


def _graph(weight: np.ndarray, axis: int | None) -> onnx.ModelProto:
    """Make a graph that does nothing but make weights float."""
    scales = np.ones(() if axis is None else weight.shape[axis], np.float32)
    node = helper.make_node("DequantizeLinear", ["w", "s"], ["y"], axis=axis)  # None leaves it out
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(scales, "s")]
    return helper.make_model(helper.make_graph([node], "weights", [], [output], constants))


WEIGHT = np.array([[100, 1, -20], [-64, 64, 3]], np.int8)


@pytest.mark.parametrize(
    ("weight", "axis", "pair"),
    [
        (WEIGHT, 0, 128),  # of the second channel
        (WEIGHT, 1, 164),
        (WEIGHT, None, 164),
        (WEIGHT[:, :, None, None], 0, 128),
        (np.full((2, 2), -128, np.int8), 0, 256),
        (WEIGHT.astype(np.uint8), 0, 0),  # no int8
        (WEIGHT[0], None, 0),  # a row of zero points, say
    ],
)
def test_the_largest_pair_of_a_channel_is_found(weight: np.ndarray, axis: int | None, pair: int) -> None:
    model = _graph(weight, axis)

    assert largest_pair(model) == pair
    assert is_portable(model) == (pair <= LARGEST_PAIR)


def test_the_bound_is_that_of_16_bits() -> None:
    assert 255 * LARGEST_PAIR <= np.iinfo(np.int16).max < 255 * (LARGEST_PAIR + 1)


def test_no_committed_model_can_saturate(root: Path) -> None:
    paths = sorted((root / "exported_models").glob("*/*/model.onnx"))
    pairs = {path.parts[-3]: largest_pair(onnx.load(path)) for path in paths}

    assert {name for name, pair in pairs.items() if pair} == {"cifar10net_int8", "cifar10net_int8_openvino"}
    assert max(pairs.values()) <= LARGEST_PAIR
