"""A run learns, is reproducible, and resumes as if it had not been interrupted."""

from __future__ import annotations

import dataclasses
import os
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from training.data.dataset import Split
from training.errors import CheckpointError, Interrupted, TrainingError
from training.evaluation.metrics import evaluate, torch_predictor
from training.learning.config import TrainConfig
from training.learning.optimizers import one_cycle
from training.learning.run import Checkpoint, Run, load_checkpoint
from training.learning.teacher import TeacherLogits
from training.learning.train import LoadTeacher, fit, resume, trained_network

if TYPE_CHECKING:
    from pathlib import Path

    from tests.training.conftest import RecordingReporter


def _same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_learns_and_records_every_epoch(finished: Run) -> None:
    rows = finished.metrics()

    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["loss"] < rows[0]["loss"] / 2
    assert rows[-1]["validation_top1"] > 0.8  # ten colours; chance is 0.1
    assert all(row["learning_rate"] > 0 for row in rows)
    assert rows[-1]["learning_rate"] < rows[0]["learning_rate"]
    assert finished.load().is_finished


def test_the_first_filters_of_each_epoch_are_kept(finished: Run) -> None:
    kept = {path.name: np.load(path) for path in (finished.folder / "filters").iterdir()}

    assert sorted(kept) == ["00001.npy", "00002.npy", "00003.npy"]
    assert all(each.dtype == np.float32 and each.shape == (16, 3, 5, 5) for each in kept.values())
    assert not np.array_equal(kept["00001.npy"], kept["00003.npy"])
    last = trained_network(finished.load()).state_dict()["layers.conv1.weight"]
    assert np.array_equal(kept["00003.npy"], last.numpy())


def test_the_same_seed_gives_the_same_weights(
    finished: Run, quick: TrainConfig, train_split: Split, reporter: RecordingReporter, tmp_path: Path
) -> None:
    again = fit(Run(tmp_path / "again"), quick, train_split, reporter)
    other = fit(Run(tmp_path / "other"), dataclasses.replace(quick, seed=1), train_split, reporter)

    expected = finished.load()
    assert _same(again.model, expected.model)
    assert _same(again.average, expected.average)
    assert not _same(other.model, expected.model)


def _losses(run: Run) -> list[tuple[int, float, float]]:
    return [(row["epoch"], row["loss"], row["validation_loss"]) for row in run.metrics()]


class _StopsAt:
    """Sends this process a signal after some step, as Ctrl-C would."""

    def __init__(self, epoch: int, step: int, number: int) -> None:
        self._when = (epoch, step)
        self._number = number

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:  # noqa: ARG002
        if (epoch, step) == self._when:
            os.kill(os.getpid(), self._number)

    def on_epoch(self, row: dict[str, Any]) -> None:
        pass


@pytest.mark.parametrize(
    "stops", [_StopsAt(0, 1, signal.SIGINT), _StopsAt(1, 7, signal.SIGTERM), _StopsAt(1, 10, signal.SIGINT)]
)
def test_an_interrupted_run_continues_to_the_same_weights(
    finished: Run,
    quick: TrainConfig,
    train_split: Split,
    reporter: RecordingReporter,
    tmp_path: Path,
    stops: _StopsAt,
) -> None:
    run = Run(tmp_path / "run")
    with pytest.raises(Interrupted, match=rf"fit --resume {run.folder}"):
        fit(run, quick, train_split, stops)

    resumed = resume(run, train_split, reporter)

    expected = finished.load()
    assert _same(resumed.model, expected.model)
    assert _same(resumed.average, expected.average)
    assert reporter.steps[0] != (0, 1)  # it did not begin anew
    assert _losses(run) == _losses(finished)
    for path in (finished.folder / "filters").iterdir():
        assert (run.folder / "filters" / path.name).read_bytes() == path.read_bytes()


def test_a_stop_is_heeded_when_an_epoch_is_one_step(
    quick: TrainConfig, train_split: Split, reporter: RecordingReporter, tmp_path: Path
) -> None:
    config = dataclasses.replace(quick, batch_size=250)
    run = Run(tmp_path / "run")

    with pytest.raises(Interrupted, match="epoch 3, step 0"):
        fit(run, config, train_split, _StopsAt(1, 1, signal.SIGINT))

    resumed = resume(run, train_split, reporter)
    assert resumed.is_finished
    assert _same(resumed.model, fit(Run(tmp_path / "unbroken"), config, train_split, reporter).model)


def test_two_processes_cannot_train_in_one_folder(
    quick: TrainConfig, train_split: Split, reporter: RecordingReporter, tmp_path: Path
) -> None:
    with Run(tmp_path).locked(), pytest.raises(CheckpointError, match="another process is training in"):
        fit(Run(tmp_path), quick, train_split, reporter)

    fit(Run(tmp_path), dataclasses.replace(quick, epochs=1), train_split, reporter)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint.pt",
        "config.json",
        "filters",
        "metrics.jsonl",
    ]


@pytest.mark.parametrize("line", ["{}", '{"epoch": 1, "lo', '{"epoch": "one"}'])
def test_damaged_metrics_are_named_before_an_epoch_is_spent(
    quick: TrainConfig, train_split: Split, reporter: RecordingReporter, tmp_path: Path, line: str
) -> None:
    run = Run(tmp_path / "run")
    with pytest.raises(Interrupted):
        fit(run, quick, train_split, _StopsAt(1, 2, signal.SIGINT))
    (run.folder / "metrics.jsonl").write_text(line)

    with pytest.raises(CheckpointError, match=r"metrics\.jsonl is damaged"):
        resume(run, train_split, reporter)

    assert reporter.steps == []


def test_a_run_that_died_before_its_checkpoint_repeats_the_epoch_once(
    finished: Run, quick: TrainConfig, train_split: Split, reporter: RecordingReporter, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    with pytest.raises(Interrupted):
        fit(run, quick, train_split, _StopsAt(1, 2, signal.SIGINT))
    run.record({**finished.metrics()[1], "loss": 99.0})  # epoch 2 was recorded, then the power went

    resume(run, train_split, reporter)

    assert [row["epoch"] for row in run.metrics()] == [1, 2, 3]
    assert run.metrics()[1]["loss"] != 99.0


def test_a_run_cannot_continue_on_other_images(
    quick: TrainConfig, train_split: Split, reporter: RecordingReporter, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    with pytest.raises(Interrupted):
        fit(run, quick, train_split, _StopsAt(1, 2, signal.SIGINT))
    other = Split(train_split.images[::-1], train_split.labels)

    with pytest.raises(CheckpointError, match="started on other training images"):
        resume(run, other, reporter)


def test_a_run_cannot_continue_with_another_teacher(
    quick: TrainConfig, train_split: Split, reporter: RecordingReporter, tmp_path: Path
) -> None:
    config, run = dataclasses.replace(quick, teacher="somebody"), Run(tmp_path / "run")

    def ask(name: str) -> LoadTeacher:
        return lambda _config, images: TeacherLogits(np.zeros((len(images), 2, 10), np.float32), name)

    with pytest.raises(Interrupted):
        fit(run, config, train_split, _StopsAt(1, 2, signal.SIGINT), ask("one"))

    with pytest.raises(CheckpointError, match=r"another teacher than somebody is now; .* SHA-256 is one"):
        resume(run, train_split, reporter, ask("another"))
    assert resume(run, train_split, reporter, ask("one")).provenance["teacher_sha256"] == "one"


def test_resuming_a_finished_run_does_nothing(
    finished: Run, train_split: Split, reporter: RecordingReporter
) -> None:
    resume(finished, train_split, reporter)

    assert reporter.steps == []


def test_a_run_folder_is_never_overwritten(
    finished: Run, quick: TrainConfig, train_split: Split, reporter: RecordingReporter
) -> None:
    with pytest.raises(CheckpointError, match="already holds a run"):
        fit(finished, quick, train_split, reporter)


def test_signal_handlers_are_put_back(
    quick: TrainConfig, train_split: Split, reporter: RecordingReporter, tmp_path: Path
) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]  # in the background one is ignored

    fit(Run(tmp_path / "run"), quick, train_split, reporter)

    assert [signal.getsignal(number) for number in numbers] == before


def test_a_loss_that_is_not_finite_ends_the_run(
    quick: TrainConfig, train_split: Split, reporter: RecordingReporter, tmp_path: Path
) -> None:
    config = dataclasses.replace(quick, peak_learning_rate=100.0, momentum=0.99, weight_decay=1.0)

    with pytest.raises(TrainingError, match="lower --peak-learning-rate"):
        fit(Run(tmp_path), config, train_split, reporter)


def test_a_batch_larger_than_the_data_is_refused(
    quick: TrainConfig, train_split: Split, reporter: RecordingReporter, tmp_path: Path
) -> None:
    config = dataclasses.replace(quick, batch_size=251)

    with pytest.raises(TrainingError, match="250 images are left to train on, fewer than a batch of 251"):
        fit(Run(tmp_path / "run"), config, train_split, reporter)

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 1),
        ("weight_decay", -1.0),
        ("seed", -1),
        ("teacher_share", 1.1),
        ("optimizer", "adam"),
        ("kernels", "wide"),
        ("flips", "never"),
        ("precision", "float16"),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: float | str) -> None:
    with pytest.raises(TrainingError, match=rf"{name} is {value!r}, wanted"):
        TrainConfig(**{name: value})  # type: ignore[arg-type]


MUON = {
    "optimizer": "muon",
    "kernels": "expanded",
    "precision": "bfloat16",
    "flips": "alternating",
    "teacher": "somebody",
}


@pytest.mark.slow
def test_a_run_with_everything_switched_on_continues_to_the_same_weights_too(
    quick: TrainConfig, train_split: Split, reporter: RecordingReporter, tmp_path: Path
) -> None:
    # 12 steps, since each is slow; the average has to follow them soon.
    few = {"epochs": 2, "validation_per_class": 15, "average_decay": 0.5, "muon_learning_rate": 0.02}
    config = dataclasses.replace(quick, **MUON, **few)  # type: ignore[arg-type]

    def ask(_config: TrainConfig, images: Split) -> TeacherLogits:
        certain = 5 * np.eye(10, dtype=np.float32)[images.labels]
        return TeacherLogits(np.stack([certain, certain], axis=1), "certain")

    unbroken = fit(Run(tmp_path / "unbroken"), config, train_split, reporter, ask)
    run = Run(tmp_path / "run")
    with pytest.raises(Interrupted):
        fit(run, config, train_split, _StopsAt(1, 4, signal.SIGTERM), ask)
    resumed = resume(run, train_split, reporter, ask)

    assert _same(resumed.model, unbroken.model)
    assert _same(resumed.average, unbroken.average)
    assert run.metrics()[-1]["validation_top1"] > 0.8


def test_a_student_learns_what_its_teacher_says_and_not_what_is_true(
    quick: TrainConfig, train_split: Split, reporter: RecordingReporter, tmp_path: Path
) -> None:
    config = dataclasses.replace(quick, teacher="a liar", teacher_share=1.0)

    def ask(_config: TrainConfig, images: Split) -> TeacherLogits:
        wrong = 5 * np.eye(10, dtype=np.float32)[(images.labels + 1) % 10]
        return TeacherLogits(np.stack([wrong, wrong], axis=1), "wrong")

    checkpoint = fit(Run(tmp_path / "run"), config, train_split, reporter, ask)

    predict = torch_predictor(trained_network(checkpoint))
    lied = Split(train_split.images, (train_split.labels + 1) % 10)
    assert evaluate(predict, lied).top1 > 0.8


def test_a_run_with_a_teacher_needs_somebody_to_ask(
    quick: TrainConfig, train_split: Split, reporter: RecordingReporter, tmp_path: Path
) -> None:
    config = dataclasses.replace(quick, teacher="somebody")

    with pytest.raises(TrainingError, match="has the teacher somebody"):
        fit(Run(tmp_path / "run"), config, train_split, reporter)


def test_the_learning_rate_rises_and_falls_once() -> None:
    rates = [one_cycle(step / 1000, 0.25) for step in range(1001)]

    assert rates[0] == pytest.approx(1 / 25)
    assert max(rates) == rates[250] == pytest.approx(1)
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    assert rates[:251] == sorted(rates[:251])
    assert rates[250:] == sorted(rates[250:], reverse=True)


def test_the_trained_network_is_the_averaged_one_and_plain(finished: Run) -> None:
    checkpoint = finished.load()

    network = trained_network(checkpoint)

    assert sum(value.numel() for value in network.parameters()) == 22_466
    assert torch.equal(network.get_parameter("layers.fc.bias"), checkpoint.average["layers.fc.bias"])


def _changed(checkpoint: Checkpoint, **changes: Any) -> Checkpoint:
    return dataclasses.replace(checkpoint, **changes)


def test_a_checkpoint_of_another_network_is_refused(finished: Run, tmp_path: Path) -> None:
    checkpoint = finished.load()
    unknown = torch.load(finished.folder / "checkpoint.pt", weights_only=True)
    unknown["config"]["network"] = "vgg"
    torch.save(unknown, tmp_path / "vgg.pt")
    fewer = {key: value for key, value in checkpoint.average.items() if "conv3" not in key}

    with pytest.raises(CheckpointError, match=r"vgg\.pt is not .* \(network is 'vgg', wanted one of"):
        load_checkpoint(tmp_path / "vgg.pt")
    with pytest.raises(CheckpointError, match="weights of another network than cifar10net"):
        trained_network(_changed(checkpoint, average=fewer))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match=r"checkpoint\.pt is not a readable checkpoint"):
        load_checkpoint(path)


def test_flipped_bytes_of_a_checkpoint_are_found(finished: Run, tmp_path: Path) -> None:
    whole = (finished.folder / "checkpoint.pt").read_bytes()
    path = tmp_path / "checkpoint.pt"
    for position in range(40, len(whole), len(whole) // 60):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            loaded = load_checkpoint(path)
        except CheckpointError:
            continue
        assert _same(loaded.average, finished.load().average)  # it hit padding


def test_a_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "foreign.pt")

    with pytest.raises(
        CheckpointError, match=r"foreign\.pt is not a readable checkpoint \(it is not of cifar"
    ):
        load_checkpoint(tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "missing.pt")
