"""inside.onnx gives the model's probabilities, and describes its layers correctly."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from training.errors import CheckpointError, ExportError
from training.evaluation.layer_table import layer_rows
from training.export.golden import draw_images
from training.export.layer_outputs import with_layer_outputs
from training.networks import NETWORKS
from training.onnx_graph.cost import graph_cost

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

LOOKED_INTO = ("cifar10net", "lenet", "mean_pool", "recurrent", "resnet")
"""Committed models of floats."""


class Inside:
    """A committed file, loaded."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.folder = root / "exported_models" / name / "1"
        self.content = (self.folder / "inside.onnx").read_bytes()
        self.session: Any = onnxruntime.InferenceSession(self.content, providers=["CPUExecutionProvider"])
        self.told: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        self.rows: list[dict[str, Any]] = json.loads(self.told["layers"])

    def run(self, outputs: list[str], images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
        """Compute them all at once: the whole graph runs for one alone too."""
        return dict(zip(outputs, self.session.run(outputs, {"images": images}), strict=True))


@pytest.fixture(scope="module", params=LOOKED_INTO)
def inside(request: pytest.FixtureRequest, root: Path) -> Inside:
    return Inside(root, request.param)


def test_a_committed_file_is_what_its_model_makes(inside: Inside) -> None:
    model = (inside.folder / "model.onnx").read_bytes()

    assert inside.content == with_layer_outputs(model)
    assert inside.told["model_sha256"] == sha256(model).hexdigest()
    assert len(inside.content) < 5_000_000


def test_it_answers_as_the_model_does(inside: Inside) -> None:
    model: Any = onnxruntime.InferenceSession(
        inside.folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    images = draw_images(25)

    expected = model.run(["probabilities"], {"images": images})[0]
    answers, last = inside.run(["probabilities", "layer/softmax"], images).values()

    assert np.abs(answers - expected).max() < 1e-5
    assert (last == answers).all()


def test_its_totals_are_those_of_the_network(inside: Inside) -> None:
    weight = graph_cost(inside.folder / "model.onnx")

    assert sum(row["parameters"] for row in inside.rows) == weight.parameters
    assert sum(row["multiply_adds"] for row in inside.rows) == weight.multiply_adds


@pytest.mark.parametrize("name", ["cifar10net", "lenet", "mean_pool"])
def test_its_table_is_that_of_the_summary(name: str, root: Path) -> None:
    told = {row["name"]: row for row in Inside(root, name).rows}
    rows = layer_rows(NETWORKS[name]())

    assert [row.name for row in rows if row.name != "flatten"] == [*told][1:-1]
    for row in rows:
        if row.name == "flatten":
            continue
        channels, *sides = told[row.name]["output_shape"]
        assert row.output == (*sides, channels)
        for column in ("kernel", "stride", "padding", "parameters", "multiply_adds", "receptive_field"):
            assert told[row.name][column] == getattr(row, column), (row.name, column)


def test_each_output_has_the_shape_that_is_told(inside: Inside) -> None:
    images = draw_images(3)
    model = onnx.load_from_string((inside.folder / "model.onnx").read_bytes())
    stored = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}

    outputs = [f"layer/{row['name']}" for row in inside.rows]
    outputs += [f"weights/{row['name']}" for row in inside.rows if row["weights_shape"] is not None]
    found = inside.run(outputs, images)

    for row in inside.rows:
        assert found[f"layer/{row['name']}"].shape == (3, *row["output_shape"])
        if row["weights_shape"] is not None:
            weights = found[f"weights/{row['name']}"]
            assert list(weights.shape) == row["weights_shape"]
            assert any(np.array_equal(weights, each) for each in stored.values())


@pytest.mark.parametrize("name", LOOKED_INTO)
def test_no_value_depends_on_a_pixel_outside_its_field(name: str, root: Path) -> None:
    """A row of pixels is changed at a time: which rows of a map change is what the table has to say.

    Where a maximum is taken, not every pixel of a field matters to one image; else each must.
    """
    inside = Inside(root, name)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    changed = np.stack([image] * 32)
    for line in range(32):
        changed[line, line] ^= 0xFF
    takes_maxima = name in {"cifar10net", "resnet"}

    rows = [row for row in inside.rows if row["receptive_field"] and len(row["output_shape"]) == 3]
    outputs = [f"layer/{row['name']}" for row in rows]
    after, before = inside.run(outputs, changed), inside.run(outputs, image[None])

    for row, output in zip(rows, outputs, strict=True):
        differs = (after[output] != before[output]).any(axis=(1, 3))
        for place in range(row["output_shape"][1]):
            begin = row["receptive_start"] + place * row["receptive_stride"]
            field = set(range(max(0, begin), min(32, begin + row["receptive_field"])))
            found = {int(line) for line in np.flatnonzero(differs[:, place])}
            assert found <= field if takes_maxima else found == field, (row["name"], place)
    assert rows


def test_a_model_of_integers_is_refused(root: Path) -> None:
    model = root / "exported_models" / "cifar10net_int8_openvino" / "1" / "model.onnx"

    with pytest.raises(CheckpointError, match="the model is quantised"):
        with_layer_outputs(model.read_bytes())


def test_windows_that_are_no_squares_are_refused(root: Path) -> None:
    model = onnx.load(root / "exported_models" / "lenet" / "1" / "model.onnx")
    pooling = next(node for node in model.graph.node if node.op_type == "AveragePool")
    kernel = next(item for item in pooling.attribute if item.name == "kernel_shape")
    kernel.ints[:] = [2, 1]

    with pytest.raises(CheckpointError, match=r"node_avg_pool2d has kernel \[1, 2\]"):
        with_layer_outputs(model.SerializeToString())


def test_what_would_answer_otherwise_is_not_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (root / "exported_models" / "lenet" / "1" / "model.onnx").read_bytes()
    monkeypatch.setattr("training.export.layer_outputs.TOLERANCE", -1.0)

    with pytest.raises(ExportError, match=r"differ by .* on 64 images"):
        with_layer_outputs(content)
