"""The committed models agree with their cards, manifests and README, and are served by their names."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from cifar10net import Client
from service.server.spawn import ServerProcess
from training.data.cifar10 import CLASS_NAMES
from training.data.dataset import DataSet, Split
from training.evaluation.metrics import evaluate, onnx_predictor
from training.export.manifest import make_manifest
from training.export.model_card import config_pbtxt

ROOT = Path(__file__).parent.parent
REPOSITORY = ROOT / "exported_models"
MADE_HERE = set((ROOT / ".gitignore").read_text().split())
"""Among others the folders of models that are too large to commit, and are made by a command."""
NAMES = sorted(
    path.name
    for path in REPOSITORY.iterdir()
    if path.is_dir() and f"/exported_models/{path.name}/" not in MADE_HERE
)
LARGEST_BYTES = 5_000_000


def _metadata(name: str) -> dict[str, str]:
    session = onnxruntime.InferenceSession(
        REPOSITORY / name / "1/model.onnx", providers=["CPUExecutionProvider"]
    )
    return dict(session.get_modelmeta().custom_metadata_map)


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_model_is_described_truly(root: Path, name: str) -> None:
    folder, metadata = REPOSITORY / name, _metadata(name)
    card, readme = (folder / "README.md").read_text(), (root / "README.md").read_text()
    size = (folder / "1/model.onnx").stat().st_size

    assert metadata["model"] == name
    assert metadata["labels"].split(",") == list(CLASS_NAMES)
    assert (folder / "labels.txt").read_text().split() == list(CLASS_NAMES)
    assert (folder / "config.pbtxt").read_text() == config_pbtxt(name)
    for text in (card, readme):
        for k in (1, 3):
            assert f"{float(metadata[f'accuracy_top{k}']):.2%}" in text
    assert "JPEG" in metadata["accuracy_data"]
    assert f"{size:,} bytes" in card
    assert size < LARGEST_BYTES
    commits = {value for key, value in metadata.items() if key.endswith("commit")}
    assert commits
    assert not any(value.endswith("-dirty") or value == "unknown" for value in commits)


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_manifest_describes_its_model(name: str) -> None:
    folder = REPOSITORY / name / "1"
    told, found = (
        json.loads(text)
        for text in ((folder / "manifest.json").read_text(), make_manifest(folder / "model.onnx"))
    )
    answers = [[each.pop("probabilities") for each in manifest["golden"]] for manifest in (told, found)]

    assert told == found
    # Processors round differently, and an int8 network may round to the other side.
    assert np.abs(np.array(answers[0]) - answers[1]).max() < (0.02 if "int8" in name else 1e-5)


@pytest.fixture(scope="module")
def real_test_split(cifar10: Path) -> Split:
    return DataSet(cifar10).split("test")


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_model_is_as_good_as_it_says(real_test_split: Split, name: str) -> None:
    metadata = _metadata(name)

    result = evaluate(onnx_predictor(REPOSITORY / name / "1/model.onnx"), real_test_split)

    assert result.n == int(metadata["accuracy_images"]) == 10_000
    assert result.top1 == pytest.approx(float(metadata["accuracy_top1"]), abs=5e-4)
    assert result.top3 == pytest.approx(float(metadata["accuracy_top3"]), abs=5e-4)


def test_every_committed_model_is_served_by_its_name(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)

    with (
        ServerProcess("--models", str(REPOSITORY), log=tmp_path / "log") as server,
        Client(server.address) as client,
    ):
        assert {model.name for model in client.models()} >= set(NAMES)
        for name in NAMES:
            results = client.classify(list(images), model=name, top_k=10)
            expected = onnx_predictor(REPOSITORY / name / "1/model.onnx")(images)
            for result, row in zip(results, expected, strict=True):
                served = {score.label: score.probability for score in result.classes}
                given = dict(zip(CLASS_NAMES, row.tolist(), strict=True))
                assert served == pytest.approx(given, abs=0.02 if "int8" in name else 1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if "quantized_from" in _metadata(name)])
def test_a_committed_twin_is_of_the_committed_model(name: str) -> None:
    metadata = _metadata(name)
    source = REPOSITORY / metadata["quantized_from"] / "1/model.onnx"

    assert metadata["quantized_from_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest(), (
        "make quantize"
    )
    before = _metadata(metadata["quantized_from"])
    assert metadata["accuracy_data_sha256"] == before["accuracy_data_sha256"]
    assert float(before["accuracy_top1"]) - float(metadata["accuracy_top1"]) <= 0.005
