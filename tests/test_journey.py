"""The whole way: train, export, serve in a real process, and compare the answers with PyTorch's."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cifar10net import Client
from service.server.spawn import ServerProcess
from tests.real_images import few_of
from tests.training.command import call
from training.data.dataset import DataSet, hold_out
from training.evaluation.metrics import predict_all, torch_predictor
from training.evaluation.probability_calibration import fit_temperature, with_temperature
from training.learning.run import Run
from training.learning.train import trained_network

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def few_real_images(cifar10: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return few_of(cifar10, tmp_path_factory.mktemp("few") / "few.zip", train=60, test=100)


@pytest.fixture(params=["synthetic", pytest.param("few_real_images", marks=pytest.mark.data)])
def data(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture
def trained(data: Path, tmp_path: Path) -> Path:
    """Train and export by the command line, and return the folder of the run, the models and the cache."""
    where = ("--data", data, "--cache-dir", tmp_path / "cache")
    quick = ("--epochs", 3, "--batch-size", 25, "--validation-per-class", 5, "--threads", 1)
    _train("fit", *where, *quick, "--out", tmp_path / "run")
    _train("export", *where, "--run", tmp_path / "run", "--to", tmp_path / "models")
    return tmp_path


def test_train_export_serve_ask_equals_pytorch(data: Path, trained: Path) -> None:
    images = DataSet(data, trained / "cache")
    test, (_, held_out) = images.split("test"), hold_out(images.split("train"), 5)
    network = trained_network(Run(trained / "run").load())
    temperature = fit_temperature(torch_predictor(network)(held_out.images), held_out.labels)
    expected = predict_all(torch_predictor(with_temperature(network, temperature)), test.images)
    with (
        ServerProcess("--models", str(trained / "models"), log=trained / "log") as server,
        Client(server.address) as client,
    ):
        from_pixels = client.classify(test.images, top_k=10)
        from_files = client.classify(_files(data, "test"), top_k=10)

    for results in (from_pixels, from_files):
        answered = np.zeros((len(test), 10))
        for row, result in zip(answered, results, strict=True):
            assert [each.probability for each in result.classes] == sorted(
                (each.probability for each in result.classes), reverse=True
            )
            for each in result.classes:
                row[each.index] = each.probability
        assert np.abs(answered - expected).max() <= 1e-5


def _train(*arguments: object) -> None:
    done = call(*arguments)
    assert (done.code, done.stderr) == (0, "")


def _files(data: Path, split: str) -> list[bytes]:
    """Return the encoded images of a split in the order that the data set reads them."""
    if data.is_dir():
        return [path.read_bytes() for path in sorted((data / split).glob("*/*"))]
    with zipfile.ZipFile(io.BytesIO(data.read_bytes())) as archive:
        return [archive.read(name) for name in sorted(archive.namelist()) if name.startswith(split)]
