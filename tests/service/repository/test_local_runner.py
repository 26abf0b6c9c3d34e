"""A model that runs in this process is found, checked and run as a server would."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from service.errors import ModelError
from service.repository.folder import FoundVersion
from service.repository.local_runner import LocalRunner, find, find_all
from tests.service.colours import fragile_model

if TYPE_CHECKING:
    from pathlib import Path

RED = np.zeros((1, 32, 32, 3), np.uint8)
RED[..., 0] = 200


def test_the_most_likely_classes_come_first(repository: Path) -> None:
    runner = LocalRunner(find(repository / "colours"))

    [[best, *others]] = runner.top_classes(RED, 3, tuple)

    assert best[:2] == (0, "red")
    assert {label for _, label, _ in others} == {"green", "blue"}
    assert best[2] == runner.run(RED).max()
    assert runner.top_classes(RED, 1, tuple) == [(best,)]


def test_more_threads_than_sessions_take_turns(repository: Path) -> None:
    runner = LocalRunner(find(repository / "colours"), sessions=2)
    wanted = runner.run(RED)

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: runner.run(RED), range(40)))

    assert all(np.array_equal(answer, wanted) for answer in answers)


def test_a_run_that_fails_names_the_model_and_leaves_its_session_idle(tmp_path: Path) -> None:
    (tmp_path / "fragile.onnx").write_bytes(fragile_model())
    runner = LocalRunner(find(tmp_path / "fragile.onnx"))
    white = np.full((1, 32, 32, 3), 255, np.uint8)

    for _ in range(2):
        with pytest.raises(ModelError, match="fragile version 1 failed: "):
            runner.run(white)

    assert runner.manifest is None
    assert runner.run(RED).shape == (1, len(runner.info.labels))


def test_a_repository_gives_the_newest_version_of_each_model(repository: Path, tmp_path: Path) -> None:
    found = find_all(repository)

    assert [each.key for each in found if isinstance(each, FoundVersion)] == [("colours", 1), ("shades", 3)]
    assert find_all(repository / "shades/1") == [find(repository / "shades", "1")]
    file = tmp_path / "mine.onnx"
    shutil.copy(repository / "colours/1/model.onnx", file)
    assert find_all(file) == [file]
    with pytest.raises(ModelError, match="neither such a file nor such a folder"):
        find_all(tmp_path / "none")
