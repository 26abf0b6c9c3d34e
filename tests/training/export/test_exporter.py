"""The exported file agrees with the network, records its provenance, and is reproducible."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest

from training.data.cifar10 import CLASS_NAMES
from training.errors import CheckpointError, ExportError, WriteError
from training.evaluation.metrics import onnx_predictor, predict_all, torch_predictor
from training.export import exporter as export_module
from training.export.exporter import ExportResult, export
from training.export.layer_outputs import with_layer_outputs
from training.export.manifest import make_manifest
from training.learning.train import trained_network

if TYPE_CHECKING:
    from training.data.dataset import Split
    from training.learning.run import Run


@pytest.fixture(scope="module")
def exported(finished: Run, test_split: Split, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    root = tmp_path_factory.mktemp("repository")
    return export(finished.load(), test_split, "synthetic colours", root)


def test_it_lies_in_a_model_repository(exported: ExportResult) -> None:
    model = exported.path.parent.parent

    assert exported.path.relative_to(model.parent) == Path("cifar10net/1/model.onnx")
    files = sorted(path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file())
    version = ["1/inside.onnx", "1/manifest.json", "1/model.onnx"]
    assert files == [*version, "README.md", "config.pbtxt", "labels.txt"]
    assert (exported.path.parent / "manifest.json").read_text() == make_manifest(exported.path)
    assert (exported.path.parent / "inside.onnx").read_bytes() == with_layer_outputs(
        exported.path.read_bytes()
    )
    assert (model / "labels.txt").read_text().split() == list(CLASS_NAMES)


def test_it_answers_as_pytorch_for_any_batch_size(
    exported: ExportResult, finished: Run, test_split: Split
) -> None:
    predict = onnx_predictor(exported.path)
    expected = predict_all(torch_predictor(trained_network(finished.load())), test_split.images)

    assert exported.compared == 1_000
    assert exported.largest_difference <= 1e-5
    for n in (1, 2, 3, 64, 1_000):
        assert np.abs(predict(test_split.images[:n]) - expected[:n]).max() <= 1e-5
    assert predict(test_split.images[:0]).shape == (0, 10)
    assert exported.evaluation.top1 > 0.8


def test_its_signature_is_the_contract(exported: ExportResult) -> None:
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])

    (images,), (probabilities,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["batch", 32, 32, 3])
    assert (probabilities.name, probabilities.type) == ("probabilities", "tensor(float)")
    assert probabilities.shape == ["batch", 10]


def test_its_metadata_says_where_it_came_from(
    exported: ExportResult, finished: Run, test_split: Split
) -> None:
    model = onnx.load(exported.path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}

    assert metadata["labels"].split(",") == list(CLASS_NAMES)
    assert float(metadata["accuracy_top1"]) == pytest.approx(exported.evaluation.top1, abs=1e-4)
    assert metadata["accuracy_images"] == "1000"
    assert metadata["accuracy_data"] == "test split, synthetic colours"
    assert metadata["accuracy_data_sha256"] == test_split.digest()
    assert metadata["seed"] == "0"
    assert "epochs=3" in metadata["recipe"]
    assert metadata["trained_commit"] == finished.load().provenance["commit"]
    assert metadata["trained_torch"]
    assert metadata["exported_onnx"] == onnx.__version__


def test_it_is_one_file_without_paths_or_traces(exported: ExportResult, root: Path) -> None:
    model = onnx.load(exported.path)
    content = exported.path.read_bytes()

    onnx.checker.check_model(model, full_check=True)
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert not any(value.data_location == onnx.TensorProto.EXTERNAL for value in model.graph.initializer)
    for trace in (str(root), sys.prefix, os.path.expanduser("~"), ".py", "site-packages"):  # noqa: PTH111
        assert trace.encode() not in content
    weights = sum(int(np.prod(value.dims)) for value in model.graph.initializer if value.data_type == 1)
    assert 22_466 <= weights <= 22_466 + 10  # mean, deviation and 255 beside the table's parameters


def test_a_second_export_has_the_same_bytes(
    exported: ExportResult, finished: Run, test_split: Split, tmp_path: Path
) -> None:
    again = export(finished.load(), test_split, "synthetic colours", tmp_path / "elsewhere")

    assert again.path.read_bytes() == exported.path.read_bytes()
    manifests = [path.parent / "manifest.json" for path in (again.path, exported.path)]
    assert manifests[0].read_bytes() == manifests[1].read_bytes()


@pytest.mark.usefixtures("traced_once")
def test_another_model_of_the_version_is_replaced_only_when_asked(
    finished: Run, test_split: Split, tmp_path: Path
) -> None:
    first = export(finished.load(), test_split, "first", tmp_path).path
    content = first.read_bytes()

    with pytest.raises(ExportError, match="holds another model already"):
        export(finished.load(), test_split, "second", tmp_path)
    assert first.read_bytes() == content
    assert "first" in (tmp_path / "cifar10net" / "README.md").read_text()

    export(finished.load(), test_split, "second", tmp_path, may_replace=True)
    assert first.read_bytes() != content
    assert (first.parent / "manifest.json").read_text() == make_manifest(first)


@pytest.mark.usefixtures("traced_once")
def test_the_card_is_the_newest_versions(finished: Run, test_split: Split, tmp_path: Path) -> None:
    card = tmp_path / "cifar10net" / "README.md"

    export(finished.load(), test_split, "the second", tmp_path, 2)
    export(finished.load(), test_split, "the first", tmp_path, 1)
    assert "the second" in card.read_text()

    export(finished.load(), test_split, "the tenth", tmp_path, 10)
    assert "the tenth" in card.read_text()


@pytest.mark.usefixtures("traced_once")
def test_a_file_that_differs_from_pytorch_is_not_kept(
    finished: Run, test_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def shifted(network: Any) -> object:
        predict = torch_predictor(network)
        return lambda images: predict(images) + np.float32(1e-4)

    monkeypatch.setattr(export_module, "torch_predictor", shifted)
    with pytest.raises(ExportError, match=r"differ by 1\.0e-04 on 1000 images, wanted at most 1e-05"):
        export(finished.load(), test_split, "", tmp_path / "root")

    assert not (tmp_path / "root").exists()


def test_too_few_images_to_compare_on_are_refused(finished: Run, test_split: Split, tmp_path: Path) -> None:
    few = test_split[np.arange(999)]

    with pytest.raises(ExportError, match="999 test images are too few"):
        export(finished.load(), few, "", tmp_path)


def test_an_unfinished_run_is_refused(finished: Run, test_split: Split, tmp_path: Path) -> None:
    unfinished = dataclasses.replace(finished.load(), epoch=2)

    with pytest.raises(CheckpointError, match="2 of 3 epochs"):
        export(unfinished, test_split, "", tmp_path)


@pytest.mark.usefixtures("traced_once")
def test_a_repository_that_cannot_be_written_keeps_the_old_model(
    exported: ExportResult, finished: Run, test_split: Split, tmp_path: Path
) -> None:
    (tmp_path / "cifar10net").write_text("a file where the folder should be")

    with pytest.raises(WriteError, match="cannot write"):
        export(finished.load(), test_split, "", tmp_path)

    assert (tmp_path / "cifar10net").read_text().startswith("a file")
    assert exported.path.exists()
