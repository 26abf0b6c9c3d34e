"""The manifest describes its model, and is reproducible."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from training.data.cifar10 import CLASS_NAMES
from training.errors import CheckpointError
from training.evaluation.metrics import onnx_predictor
from training.export.float64_reference import softmax_predictor
from training.export.manifest import make_manifest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def model(root: Path) -> Path:
    return root / "exported_models/cifar10net/1/model.onnx"


def _read(text: str) -> Any:
    return json.loads(text)


def test_it_names_the_file_by_size_and_digest(model: Path) -> None:
    content = model.read_bytes()

    assert _read(make_manifest(model))["files"] == {
        "model.onnx": {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    }


def test_it_tells_signature_and_labels(model: Path) -> None:
    manifest = _read(make_manifest(model))

    assert manifest["format"] == 1
    assert manifest["input"] == {"name": "images", "datatype": "uint8", "shape": [-1, 32, 32, 3]}
    assert manifest["output"] == {"name": "probabilities", "datatype": "float32", "shape": [-1, 10]}
    assert manifest["labels"] == list(CLASS_NAMES)


def test_its_golden_answers_are_the_files_own(model: Path) -> None:
    golden = _read(make_manifest(model))["golden"]

    images = [np.frombuffer(base64.b64decode(each["image"]), np.uint8) for each in golden]
    answers = np.array([each["probabilities"] for each in golden], np.float32)
    assert len(golden) == 4
    assert len(set(answers.argmax(axis=1))) == 4
    asked = np.stack(images).reshape(-1, 32, 32, 3)
    assert np.array_equal(answers, softmax_predictor(model.read_bytes())(asked))  # to the last bit
    assert np.abs(answers - onnx_predictor(model)(asked)).max() < 1e-6


def test_it_is_the_same_every_time(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(model.read_bytes())

    assert make_manifest(copy) == make_manifest(model)


def test_a_file_without_labels_is_refused(model: Path, tmp_path: Path) -> None:
    nameless = onnx.load(model)
    del nameless.metadata_props[:]
    onnx.save(nameless, tmp_path / "nameless.onnx")

    with pytest.raises(CheckpointError, match="has 1 labels, wanted 10"):
        make_manifest(tmp_path / "nameless.onnx")
