"""Several processes under torchrun do what one does: the same losses, one stop, no hang."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from training.config import TrainConfig
from training.errors import CheckpointError, DeviceError, TrainingError
from training.run import Run
from training.train import fit, resume

if TYPE_CHECKING:
    from tests.training.conftest import RecordingReporter
    from training.dataset import Split

CONFIG = TrainConfig(
    epochs=3,
    batch_size=25,  # shares of 12 and 13
    validation_per_class=5,
    peak_learning_rate=0.05,
    optimizer="muon",
    flips="alternating",
    processes=2,
)
_SETTINGS = (
    *("--recipe", "cifar10net", "--epochs", "3", "--batch-size", "25", "--validation-per-class", "5"),
    *("--peak-learning-rate", "0.05", "--threads", "1"),
)
SCRIPT = Path(__file__).with_name("torchrun.py")
_ROUNDING = 2e-4


def _torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.fixture(scope="module")
def alone(train_split: Split, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of one process."""
    run = Run(tmp_path_factory.mktemp("alone") / "run")
    fit(run, dataclasses.replace(CONFIG, processes=1), train_split, _silent())
    return run


def _silent() -> RecordingReporter:
    from tests.training.conftest import RecordingReporter  # noqa: PLC0415 - pytest loads it first

    return RecordingReporter()


def _equal_to_rounding(run: Run, other: Run) -> None:
    rows, expected = run.metrics(), other.metrics()
    assert [row["epoch"] for row in rows] == [row["epoch"] for row in expected] == [1, 2, 3]
    for name in ("loss", "validation_loss"):
        for row, wanted in zip(rows, expected, strict=True):
            assert row[name] == pytest.approx(wanted[name], rel=_ROUNDING), name


def test_two_processes_have_the_losses_of_one(
    alone: Run, synthetic: Path, data_set_cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"

    done = _torchrun(
        *("-m", "training", "fit", "--data", synthetic, "--cache-dir", data_set_cache),
        *("--out", folder, *_SETTINGS),
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch   1/3") == 1  # one of them reports
    assert done.stdout.count("2 processes") == 1
    assert json.loads((folder / "config.json").read_text()) == dataclasses.asdict(CONFIG)
    _equal_to_rounding(Run(folder), alone)


def test_a_signal_to_one_process_stops_all_at_the_same_step_and_they_go_on(
    alone: Run, synthetic: Path, data_set_cache: Path, tmp_path: Path
) -> None:
    done = _torchrun(SCRIPT, synthetic, data_set_cache, tmp_path, "signal")

    assert done.returncode == 0, done.stderr
    said = sorted(line for line in done.stdout.splitlines() if "stopped at" in line)
    assert said == ["process 0 stopped at 1, 5", "process 1 stopped at 1, 5"]
    _equal_to_rounding(Run(tmp_path), alone)


def test_the_death_of_a_process_ends_the_run_with_a_sentence(
    synthetic: Path, data_set_cache: Path, tmp_path: Path
) -> None:
    done = _torchrun(SCRIPT, synthetic, data_set_cache, tmp_path, "death")

    assert done.returncode != 0
    assert "process 0 says: process 0 of 2 lost another one" in done.stdout
    assert Run(tmp_path).load().epoch == 1  # what was saved before is whole


def test_processes_that_drift_apart_end_the_run(
    synthetic: Path, data_set_cache: Path, tmp_path: Path
) -> None:
    done = _torchrun(SCRIPT, synthetic, data_set_cache, tmp_path, "drift")

    assert done.returncode != 0
    assert "the 2 processes have come to different weights" in done.stdout
    assert [row["epoch"] for row in Run(tmp_path).metrics()] == [1]


def test_a_run_goes_on_with_as_many_processes_as_began_it(
    alone: Run, train_split: Split, reporter: RecordingReporter, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="one of 2 processes, and 1 are here"):
        fit(Run(tmp_path / "new"), CONFIG, train_split, reporter)

    assert not (tmp_path / "new" / "config.json").exists()
    assert resume(alone, train_split, reporter).is_finished


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
