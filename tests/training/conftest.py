"""A small run that several tests of training share."""

from __future__ import annotations

import copy
import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from training.data.dataset import DataSet, Split
from training.export import exporter as export_module
from training.learning.config import TrainConfig
from training.learning.run import Run
from training.learning.train import fit

if TYPE_CHECKING:
    from pathlib import Path

    import onnx
    from torch import nn


class RecordingReporter:
    """Records the reports of a run."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self.rows: list[dict[str, Any]] = []

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:  # noqa: ARG002
        self.steps.append((epoch, step))

    def on_epoch(self, row: dict[str, Any]) -> None:
        self.rows.append(row)


@pytest.fixture
def reporter() -> RecordingReporter:
    return RecordingReporter()


@pytest.fixture(scope="session")
def data_set_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder where the synthetic images are kept decoded."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def data_set(synthetic: Path, data_set_cache: Path) -> DataSet:
    return DataSet(synthetic, data_set_cache)


@pytest.fixture(scope="session")
def train_split(data_set: DataSet) -> Split:
    return data_set.split("train")


@pytest.fixture(scope="session")
def test_split(data_set: DataSet) -> Split:
    return data_set.split("test")


@pytest.fixture(scope="session")
def quick() -> TrainConfig:
    """Return settings that learn the synthetic classes in a second: 3 epochs of 10 steps."""
    return TrainConfig(epochs=3, batch_size=25, validation_per_class=5, peak_learning_rate=0.05, threads=1)


@pytest.fixture(scope="session")
def finished(quick: TrainConfig, train_split: Split, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return an unbroken run of ``quick``."""
    run = Run(tmp_path_factory.mktemp("runs") / "finished")
    fit(run, quick, train_split, RecordingReporter())
    return run


@pytest.fixture(scope="session")
def graphs() -> dict[str, onnx.ModelProto]:
    """Return traced graphs, by a digest of the network and its weights."""
    return {}


@pytest.fixture
def traced_once(graphs: dict[str, onnx.ModelProto], monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace each network once; further exports of it reuse the graph."""
    trace = export_module._to_onnx

    def remember(network: nn.Module) -> onnx.ModelProto:
        digest = hashlib.sha256(str(network).encode())
        for value in network.state_dict().values():
            digest.update(value.numpy().tobytes())
        if digest.hexdigest() not in graphs:
            graphs[digest.hexdigest()] = trace(network)
        return copy.deepcopy(graphs[digest.hexdigest()])

    monkeypatch.setattr(export_module, "_to_onnx", remember)
