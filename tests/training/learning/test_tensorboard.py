"""Every epoch is reported to TensorBoard; a resumed run replaces the epochs that it repeats."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from training.errors import WriteError
from training.learning.tensorboard import EventReporter

if TYPE_CHECKING:
    from pathlib import Path


def _row(epoch: int) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "loss": 1 / epoch,
        "validation_loss": 2 / epoch,
        "validation_top1": 0.5,
        "validation_top3": 0.75,
        "learning_rate": 0.25,
        "images_per_s": 1000.0,
    }


def _events(folder: Path) -> list[Any]:
    """Read the records of all files, in the order in which these were begun."""
    found = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            found.append(Event.FromString(content[12 : 12 + size]))
            content = content[16 + size :]
    return found


def test_each_epoch_is_told_with_its_metrics(tmp_path: Path) -> None:
    with EventReporter(tmp_path) as reporter:
        reporter.on_step(0, 1, 10, 2.0)
        assert list(tmp_path.iterdir()) == []
        reporter.on_epoch(_row(1))
        reporter.on_epoch(_row(2))
    told = {
        (event.step, value.tag): value.simple_value
        for event in _events(tmp_path / "tensorboard")
        for value in event.summary.value
    }

    assert told[1, "loss/training"] == 1
    assert told[2, "loss/training"] == 0.5
    assert told[2, "loss/validation"] == 1
    assert told[2, "accuracy/top-1"] == 0.5
    assert told[2, "accuracy/top-3"] == 0.75
    assert told[2, "learning_rate"] == 0.25
    assert told[2, "images_per_s"] == 1000
    assert len(told) == 12


def test_a_run_that_goes_on_takes_back_the_epochs_that_it_does_again(tmp_path: Path) -> None:
    with EventReporter(tmp_path) as reporter:
        for epoch in (1, 2):
            reporter.on_epoch(_row(epoch))
    with EventReporter(tmp_path) as reporter:
        reporter.on_epoch(_row(2))

    started = [event for event in _events(tmp_path / "tensorboard") if event.session_log.status == 1]
    assert [event.step for event in started] == [1, 2]  # what has these steps or later ones is forgotten


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("no folder")

    with EventReporter(tmp_path) as reporter, pytest.raises(WriteError, match=r"cannot write .*tensorboard"):
        reporter.on_epoch(_row(1))
