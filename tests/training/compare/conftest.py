"""Small graphs with known numbers of parameters and multiply-adds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from training.data.cifar10 import CLASS_NAMES

if TYPE_CHECKING:
    from pathlib import Path

Node = tuple[str, list[str], list[str], dict[str, Any]]


def write_model(
    path: Path,
    nodes: list[Node],
    constants: dict[str, np.ndarray[Any, Any]],
    labels: str | None = ",".join(CLASS_NAMES),
    classes: int = 10,
) -> Path:
    """Write a graph whose nodes begin at ``pixels``, float (n, 3, 32, 32), and end at ``logits``."""
    before: list[Node] = [
        ("Transpose", ["images"], ["first"], {"perm": [0, 3, 1, 2]}),
        ("Cast", ["first"], ["floats"], {"to": TensorProto.FLOAT}),
        ("Sub", ["floats", "mean"], ["pixels"], {}),
    ]
    after: list[Node] = [("Softmax", ["logits"], ["probabilities"], {"axis": 1})]
    constants = {"mean": np.full((1, 3, 1, 1), 127.5, np.float32), **constants}
    graph = helper.make_graph(
        [helper.make_node(kind, ins, outs, **more) for kind, ins, outs, more in before + nodes + after],
        "small",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 32, 32, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    if labels is not None:
        model.metadata_props.add(key="labels", value=labels)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def fully_connected(path: Path, seed: int = 0) -> Path:
    """Write 3072 pixels to ten classes: 30,730 parameters, 30,720 multiply-adds."""
    weight = np.random.default_rng(seed).normal(0, 1e-3, (3_072, 10)).astype(np.float32)
    nodes: list[Node] = [
        ("Flatten", ["pixels"], ["vector"], {}),
        ("Gemm", ["vector", "weight", "bias"], ["logits"], {}),
    ]
    return write_model(path, nodes, {"weight": weight, "bias": np.zeros(10, np.float32)})


def convolutional(path: Path) -> Path:
    """Write colours averaged over the image, then ten classes: a shift changes next to nothing.

    1x1 convolution from 3 to 10 channels: 40 parameters, 30,720 multiply-adds.
    """
    weight = np.random.default_rng(1).normal(0, 1, (10, 3, 1, 1)).astype(np.float32)
    nodes: list[Node] = [
        ("Conv", ["pixels", "weight", "bias"], ["map"], {}),
        ("GlobalAveragePool", ["map"], ["means"], {}),
        ("Flatten", ["means"], ["logits"], {}),
    ]
    return write_model(path, nodes, {"weight": weight, "bias": np.zeros(10, np.float32)})


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository with a convolutional and a fully connected model, the latter in two versions."""
    root = tmp_path / "repository"
    convolutional(root / "colours" / "1" / "model.onnx")
    fully_connected(root / "pixels" / "2" / "model.onnx")
    fully_connected(root / "pixels" / "10" / "model.onnx", seed=10)
    return root
