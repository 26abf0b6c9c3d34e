"""Several processes under torchrun behave as one: the same losses, one stop, no hang."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import torch
from torch import distributed

from tests.training.threads import Threads
from training.errors import CheckpointError, DeviceError, TrainingError
from training.learning.config import TrainConfig
from training.learning.data_parallel import process_group
from training.learning.run import Run
from training.learning.train import fit, resume

if TYPE_CHECKING:
    from tests.training.conftest import RecordingReporter
    from training.data.dataset import Split

CONFIG = TrainConfig(
    epochs=3,
    batch_size=25,  # shares of 12 and 13
    validation_per_class=5,
    peak_learning_rate=0.001,
    flips="alternating",
    processes=2,
)
NETWORKS = ("lenet", "cifar10net")
SETTINGS = (
    *("--recipe", "cifar10net", "--epochs", "3", "--batch-size", "25", "--validation-per-class", "5"),
    *("--peak-learning-rate", "0.001", "--optimizer", "sgd", "--threads", "1"),
)
SCRIPT = Path(__file__).with_name("torchrun.py")
# Of LeNet, which is smooth. Elsewhere two values of a pooling window may be equal to rounding, or one before
# a ReLU zero, and then another gradient flows. Statistics of each share alone are off by 4e-3 at once.
_ROUNDING = {"lenet": 1e-5, "cifar10net": 2e-3}
# Muon rounds to bfloat16 inside, so that a change of 1e-7 becomes one of 3e-4 within these steps.
MUON = dataclasses.replace(CONFIG, optimizer="muon", muon_learning_rate=0.002)
_ROUNDING_OF_MUON = 1e-2


class Trained(NamedTuple):
    """What two processes under torchrun have done: see torchrun.py."""

    folder: Path
    """With a run folder for each training."""
    code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def trained(synthetic: Path, data_set_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train everything in the same two processes."""
    folder = tmp_path_factory.mktemp("torchrun")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *map(str, (SCRIPT, synthetic, data_set_cache, folder)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return Trained(folder, done.returncode, done.stdout, done.stderr)


def _equal_to_rounding(run: Run, other: Run, rounding: float) -> None:
    rows, expected = run.metrics(), other.metrics()
    assert [row["epoch"] for row in rows] == [row["epoch"] for row in expected] == [1, 2, 3]
    for name in ("loss", "validation_loss"):
        for row, wanted in zip(rows, expected, strict=True):
            assert row[name] == pytest.approx(wanted[name], rel=rounding), name


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_two_processes_have_the_losses_of_one(
    trained: Trained, train_split: Split, reporter: RecordingReporter, tmp_path: Path, network: str
) -> None:
    alone, folder = Run(tmp_path / "alone"), trained.folder / network
    config = dataclasses.replace(CONFIG, network=network)
    fit(alone, dataclasses.replace(config, processes=1), train_split, reporter)

    told = f"{network}, seed 0: 300 images, {folder}, 2 processes\n"
    assert trained.stdout.count(told) == 1, trained.stderr  # one of them reports
    _, _, said = trained.stdout.partition(told)
    assert said.partition("finished: ")[0].count("epoch   1/3") == 1
    assert trained.stdout.count(f"finished: {folder}\n") == 1
    assert json.loads((folder / "config.json").read_text()) == dataclasses.asdict(config)
    _equal_to_rounding(Run(folder), alone, _ROUNDING[network])


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_at_the_same_step_and_they_go_on(
    trained: Trained, train_split: Split, reporter: RecordingReporter, tmp_path: Path
) -> None:
    alone = Run(tmp_path / "alone")
    fit(alone, dataclasses.replace(MUON, processes=1), train_split, reporter)

    said = sorted(line for line in trained.stdout.splitlines() if line.startswith("signal: "))
    stopped = [f"signal: process {rank} stopped at 1, 5" for rank in range(2)]
    assert said == stopped, trained.stderr
    _equal_to_rounding(Run(trained.folder / "signal"), alone, _ROUNDING_OF_MUON)


@pytest.mark.slow
def test_the_death_of_a_process_ends_the_run_with_a_sentence(trained: Trained) -> None:
    assert trained.code != 0
    assert "death: process 0 says: process 0 of 2 lost another one" in trained.stdout, trained.stderr
    assert Run(trained.folder / "death").load().epoch == 1  # what was saved before is whole


def test_a_process_leaves_the_others_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "alone")
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}.items():
        monkeypatch.setenv(name, str(value))

    with process_group(torch.device("cpu")) as group:
        assert (group.rank, group.size) == (0, 1)
        assert distributed.is_initialized()

    assert not distributed.is_initialized()


def test_processes_that_drift_apart_are_found() -> None:
    threads = Threads(2)
    weights = torch.tensor([0.1, -0.0, 3e-8])

    def compare(rank: int, values: torch.Tensor) -> None:
        threads.group(rank).check_equal(values)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(compare, (0, 1), (weights, weights.clone())))
        other = [pool.submit(compare, rank, weights + rank * 1e-8) for rank in range(2)]

    for each in other:
        assert "the 2 processes have different weights" in str(each.exception())


def test_a_run_goes_on_with_as_many_processes_as_began_it(
    finished: Run, train_split: Split, reporter: RecordingReporter, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="needs 2 processes, 1 were started"):
        fit(Run(tmp_path / "new"), CONFIG, train_split, reporter)

    assert not (tmp_path / "new" / "config.json").exists()
    assert resume(finished, train_split, reporter).is_finished


def test_a_device_that_is_not_there_is_refused(
    train_split: Split, reporter: RecordingReporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    config = dataclasses.replace(CONFIG, processes=1, device="cuda")

    with pytest.raises(DeviceError, match=r"device is cuda, and process 0 of this machine finds 0 CUDA"):
        fit(Run(tmp_path / "run"), config, train_split, reporter)

    assert not (tmp_path / "run" / "config.json").exists()


def test_what_is_compiled_is_learned_by_one_process() -> None:
    with pytest.raises(TrainingError, match="compile is True with 2 processes"):
        dataclasses.replace(CONFIG, compile=True)
