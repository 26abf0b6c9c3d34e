"""Layers, weights and activations are those of the served model's file."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from cifar10net import Client
from service.errors import ModelError
from service.web.layer_outputs import LayerFiles, Layers
from tests.service.web.pages import Page, array_of

if TYPE_CHECKING:
    from pathlib import Path


def _run(path: Path, outputs: list[str], image: np.ndarray) -> list[Any]:
    session: Any = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [values[0] for values in session.run(outputs, {"images": image[None]})]


def test_the_layers_are_a_table(page: Page) -> None:
    response = page.json("v1/models/cifar10net/layers")

    assert (response["model"], response["version"]) == ("cifar10net", "1")
    assert response["totals"] == {"parameters": 22_466, "multiply_adds": 3_920_000}
    first = response["layers"][1]
    assert first == {
        "name": "conv1",
        "kind": "convolution",
        "output_shape": [16, 32, 32],
        "kernel": 5,
        "stride": 1,
        "padding": 2,
        "parameters": 1_216,
        "multiply_adds": 1_228_800,
        "receptive_field": 5,
        "receptive_stride": 1,
        "receptive_start": -2,
        "weights": {"shape": [16, 3, 5, 5], "url": "v1/models/cifar10net/layers/conv1/weights?version=1"},
    }


def test_weights_are_those_of_the_served_file(page: Page, models: Path) -> None:
    model = onnx.load(models / "cifar10net" / "1" / "model.onnx")
    stored = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}

    for row in page.json("v1/models/cifar10net/layers")["layers"]:
        if row["weights"] is not None:
            weights = array_of(page.json(row["weights"]["url"]))
            assert np.array_equal(weights, stored[f"network.layers.{row['name']}.weight"])


@pytest.mark.parametrize("name", ["cifar10net", "lenet"])
def test_activations_are_those_of_the_picture(
    page: Page, models: Path, dog: bytes, dog_seen: np.ndarray, name: str
) -> None:
    response = page.json(f"v1/inside?model={name}", dog)
    table = page.json(f"v1/models/{name}/layers")["layers"]
    given = {layer["name"]: array_of(layer) for layer in response["layers"]}

    assert [*given] == [row["name"] for row in table]
    wanted = _run(models / name / "1" / "inside.onnx", [f"layer/{each}" for each in given], dog_seen)
    for row, value, layer in zip(table, wanted, response["layers"], strict=True):
        assert np.array_equal(given[row["name"]], value)
        assert layer["shape"] == row["output_shape"]
        assert (layer["min"], layer["max"]) == (value.min(), value.max())
    [answer] = page.json(f"v1/classify?model={name}", dog)["results"]
    assert response["top"] == answer["top"]
    assert given["softmax"].max() == pytest.approx(answer["top"][0]["probability"], abs=1e-5)


def test_occlusion_covers_a_window_at_a_time(
    page: Page, answering: str, dog: bytes, dog_seen: np.ndarray
) -> None:
    response = page.json("v1/occlusion?model=lenet&size=12&stride=5", dog)

    assert (response["rows"], response["columns"]) == (5, 5)
    covered = dog_seen.copy()
    covered[15:27, 5:17] = response["fill"]
    with Client(answering) as client:
        whole, other = client.classify(np.stack([dog_seen, covered]), model="lenet", top_k=10)
    assert (response["label"], response["probability"]) == (
        whole.best.label,
        pytest.approx(whole.best.probability, abs=1e-6),
    )
    [left] = [one.probability for one in other.classes if one.label == response["label"]]
    assert response["probabilities"][3][1] == pytest.approx(left, abs=1e-6)
    assert response["fill"] == np.rint(dog_seen.mean(axis=(0, 1))).tolist()


def test_unknown_models_and_layers_are_not_found(page: Page, dog: bytes) -> None:
    for path, body in (
        ("v1/models/none/layers", None),
        ("v1/models/cifar10net/layers?version=7", None),
        ("v1/models/cifar10net_int8_openvino/layers", None),
        ("v1/models/cifar10net/layers/relu1/weights", None),
        ("v1/models/cifar10net/layers/none/weights", None),
        ("v1/models/..%2Fcifar10net/layers", None),
        ("v1/inside?model=cifar10net_int8_openvino", dog),
    ):
        assert page.problem(404, path, body)["code"] == "not-found"
    page.problem(422, "v1/inside", b"no picture")
    page.problem(400, "v1/occlusion?size=33", dog)


def test_layers_of_another_model_are_not_shown(
    models: Path, answering: str, dog: bytes, tmp_path: Path
) -> None:
    for name, other in (("cifar10net", "lenet"), ("lenet", "lenet")):
        (tmp_path / name / "1").mkdir(parents=True)
        shutil.copy(models / other / "1" / "inside.onnx", tmp_path / name / "1")
    shutil.copytree(models / "lenet" / "1", tmp_path / "cifar10net_int8_openvino" / "1")
    (tmp_path / "cifar10net_int8_openvino" / "1" / "inside.onnx").write_bytes(b"damaged")

    with Page("--server", answering, "--models", str(tmp_path)) as page:
        page.json("v1/inside?model=lenet", dog)
        problem = page.problem(409, "v1/inside?model=cifar10net", dog)
        damaged = page.problem(409, "v1/inside?model=cifar10net_int8_openvino", dog)

    assert "gives other probabilities than the model does" in problem["detail"]
    assert "cannot be loaded" in damaged["detail"]


def test_a_file_that_tells_no_layers_is_refused(models: Path, tmp_path: Path) -> None:
    plain = (models / "lenet" / "1" / "model.onnx").read_bytes()
    with pytest.raises(ModelError, match="has no table of its layers"):
        Layers(plain, tmp_path / "inside.onnx")

    model = onnx.load(models / "lenet" / "1" / "inside.onnx")
    [told] = [item for item in model.metadata_props if item.key == "format"]
    told.value = "2"
    with pytest.raises(ModelError, match="is of another format"):
        Layers(model.SerializeToString(), tmp_path / "inside.onnx")


def test_a_file_that_is_replaced_is_reloaded(models: Path, tmp_path: Path) -> None:
    path = tmp_path / "net" / "1" / "inside.onnx"
    path.parent.mkdir(parents=True)
    shelf = LayerFiles([tmp_path])
    assert shelf.layers("net", "1") is None

    shutil.copy(models / "lenet" / "1" / "inside.onnx", path)
    first = shelf.layers("net", "1")
    assert shelf.layers("net", "1") is first
    shutil.copy(models / "cifar10net" / "1" / "inside.onnx", path)
    second = shelf.layers("net", "1")

    assert first is not None
    assert second is not None
    assert len(first.rows) != len(second.rows)


@pytest.mark.parametrize(
    ("name", "version"), [("..", "net"), ("net/1", "."), ("", "1"), (".net", "1"), ("/", "1")]
)
def test_a_name_never_leads_out_of_the_repository(models: Path, name: str, version: str) -> None:
    assert not LayerFiles([models / "lenet"]).has(name, version)
    assert LayerFiles([models]).has("lenet", "1")
