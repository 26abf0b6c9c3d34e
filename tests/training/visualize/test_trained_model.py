"""Trained models are opened, with their network if its weights can be restored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from training.errors import CheckpointError
from training.evaluation.metrics import torch_predictor
from training.visualize.trained_model import open_trained_model

if TYPE_CHECKING:
    from pathlib import Path

    from training.learning.run import Run

EXPORTED = "exported_models/cifar10net/1/model.onnx"


def test_a_run_is_opened_with_its_metrics(finished: Run) -> None:
    subject = open_trained_model(finished.folder)

    assert (subject.name, subject.runtime, subject.no_network_reason) == ("cifar10net", "PyTorch", "")
    assert subject.network is not None
    assert not subject.network.training
    assert subject.validation_per_class == 5
    assert [row["epoch"] for row in subject.metrics] == [1, 2, 3]
    assert open_trained_model(finished.folder / "checkpoint.pt").metrics == subject.metrics


def test_the_weights_of_an_exported_file_are_put_back(root: Path) -> None:
    subject = open_trained_model(root / EXPORTED)

    assert subject.runtime == "ONNX Runtime"
    assert subject.network is not None
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    np.testing.assert_allclose(torch_predictor(subject.network)(images), subject.predict(images), atol=1e-5)
    assert open_trained_model((root / EXPORTED).parent).path == root / EXPORTED


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda model: setattr(model.metadata_props[0], "value", "vgg"),
            "names the network 'vgg', which",
        ),
        (lambda model: _rename(model, "network.layers.fc.weight"), "has no weights called layers.fc.weight"),
        (lambda model: _scale(model, "network.normalise.std"), "gives other probabilities"),
    ],
)
def test_a_file_that_cannot_be_put_back_still_answers(
    root: Path, tmp_path: Path, change: object, why: str
) -> None:
    model = onnx.load(root / EXPORTED)
    assert model.metadata_props[0].key == "model"
    assert callable(change)
    change(model)
    onnx.save(model, tmp_path / "model.onnx")

    subject = open_trained_model(tmp_path)

    assert subject.network is None
    assert why in subject.no_network_reason
    assert subject.predict(np.zeros((1, 32, 32, 3), np.uint8)).shape == (1, 10)


def _rename(model: onnx.ModelProto, name: str) -> None:
    for node in model.graph.node:
        for place, each in enumerate(node.input):
            if each == name:
                node.input[place] = "val_fc"
    next(each for each in model.graph.initializer if each.name == name).name = "val_fc"


def _scale(model: onnx.ModelProto, name: str) -> None:
    """Make the graph use another constant than the one of that name, which stays."""
    kept = next(each for each in model.graph.initializer if each.name == name)
    other = onnx.numpy_helper.from_array(2 * onnx.numpy_helper.to_array(kept), "another")
    model.graph.initializer.append(other)
    for node in model.graph.node:
        for place, each in enumerate(node.input):
            if each == name:
                node.input[place] = "another"


def test_a_folder_without_a_model_says_what_it_wants(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"no model in .*: it has neither checkpoint\.pt .* nor model\.onnx"
    ):
        open_trained_model(tmp_path)


def test_a_model_of_another_shape_is_refused(tmp_path: Path) -> None:
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "other",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 7])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 7])],
    )
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, ir_version=9, opset_imports=opsets), tmp_path / "model.onnx")

    with pytest.raises(CheckpointError, match="has inputs and outputs"):
        open_trained_model(tmp_path / "model.onnx")
