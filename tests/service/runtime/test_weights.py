"""The largest int8 weight is read without the package onnx."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.runtime.weights import LARGEST_PORTABLE, largest_int8_weight
from tests.service.colours import colour_model
from tests.service.int8_models import int8_model

if TYPE_CHECKING:
    from pathlib import Path


def _file(*nodes: onnx.NodeProto, weights: tuple[onnx.TensorProto, ...] = ()) -> bytes:
    return helper.make_model(helper.make_graph(nodes, "g", [], [], weights)).SerializeToString()


def _tensor(*values: int, rows: int = 1) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int8).reshape(rows, -1), "w")


@pytest.mark.parametrize(
    ("content", "largest"),
    [
        (int8_model(), 127),
        (int8_model(64), 64),
        (colour_model(), 0),  # no int8
        (_file(weights=(_tensor(3, -128), _tensor(5, 6, rows=2))), 128),
        (_file(weights=(helper.make_tensor("w", TensorProto.INT8, [2, 1], [-70, 3]),)), 70),  # not raw
        (_file(helper.make_node("Constant", [], ["w"], value=_tensor(-9, 1))), 9),
        (_file(weights=(numpy_helper.from_array(np.array([-128, 7], np.int8), "zero points"),)), 0),
        (_file(weights=(numpy_helper.from_array(np.zeros((0, 3), np.int8), "empty"),)), 0),
        (b"", 0),
        (b"not protobuf", 0),
    ],
)
def test_the_largest_size_is_found(content: bytes, largest: int) -> None:
    assert largest_int8_weight(content) == largest


def test_committed_models_are_portable(root: Path) -> None:
    sizes = {
        path.parts[-3]: largest_int8_weight(path.read_bytes())
        for path in (root / "exported_models").glob("*/*/model.onnx")
    }

    assert max(sizes.values()) <= LARGEST_PORTABLE
    assert sizes["cifar10net_int8"] == sizes["cifar10net_int8_openvino"] == LARGEST_PORTABLE
