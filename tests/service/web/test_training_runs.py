"""Runs are served as training writes them, while they go on and afterwards."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from service.errors import SourceError
from service.web import training_runs as runs
from service.web.training_runs import find_runs, read_run
from tests.service.web.pages import Page, array_of
from training.learning.config import TrainConfig
from training.learning.run import Run

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = TrainConfig(epochs=4)


def _begin(folder: Path, epochs: int, *, filters: bool = True) -> Run:
    run = Run(folder)
    run.folder.mkdir(parents=True)
    run.begin(CONFIG)
    for epoch in range(1, epochs + 1):
        run.record({"epoch": epoch, "loss": 1 / epoch, "seconds": 10.0, "images_per_s": 4_000.0 + epoch})
        if filters:
            run.keep_filters(epoch, np.full((16, 3, 5, 5), epoch, np.float32))
    return run


def test_a_run_is_served_while_it_goes_on(answering: str, tmp_path: Path) -> None:
    running, stopped, finished = (
        _begin(tmp_path / name, epochs) for name, epochs in (("running", 2), ("stopped", 3), ("finished", 4))
    )
    (tmp_path / "something else").mkdir()

    with Page("--server", answering, "--runs", str(tmp_path)) as page, running.locked():
        assert page.json("v1/models")["has_runs"]
        response = {run["name"]: run for run in page.json("v1/runs")["runs"]}
        assert {name: run["state"] for name, run in response.items()} == {
            "running": "running",
            "stopped": "stopped",
            "finished": "finished",
        }
        assert response["running"]["network"] == "cifar10net"
        assert (response["stopped"]["epochs"], response["stopped"]["epochs_done"]) == (4, 3)

        run = page.json("v1/runs/running")
        assert [row["epoch"] for row in run["rows"]] == [1, 2]
        assert run["rows"][1] == {"epoch": 2, "loss": 0.5, "seconds": 10.0, "images_per_s": 4_002.0}
        assert run["images_per_s"] == 4_002
        assert run["has_filters"]
        assert 0 < run["seconds_left"] <= 20
        running.record({"epoch": 3, "loss": 0.25, "seconds": 20.0})
        after = page.json("v1/runs/running?after=2")
        assert [row["epoch"] for row in after["rows"]] == [3]
        assert page.json("v1/runs/finished")["seconds_left"] is None

        filters = page.json("v1/runs/running/filters")
        assert (filters["epoch"], filters["epochs"]) == (2, [1, 2])
        assert np.array_equal(array_of(filters), np.full((16, 3, 5, 5), 2))
        assert (array_of(page.json("v1/runs/running/filters?epoch=1")) == 1).all()

        for path in (
            "v1/runs/none",
            "v1/runs/something else".replace(" ", "%20"),
            "v1/runs/..%2Frunning",
            "v1/runs/running/filters?epoch=9",
        ):
            page.problem(404, path)
        shutil.rmtree(stopped.folder / "filters")
        assert not page.json("v1/runs/stopped")["has_filters"]
        (finished.folder / "metrics.jsonl").write_text("damaged")
        assert "finished cannot be read" in page.problem(409, "v1/runs/finished")["detail"]
        assert page.json("v1/runs")["runs"][0]["name"] == "running"
        assert stopped.metrics()


def test_without_runs_the_problem_names_the_option(page: Page) -> None:
    assert "--runs" in page.problem(404, "v1/runs")["detail"]
    assert "--runs" in page.problem(404, "v1/runs/x")["detail"]


def test_a_folder_that_is_not_there_yet_has_no_runs(tmp_path: Path) -> None:
    assert find_runs(tmp_path / "none") == []
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="cannot read the runs"):
        find_runs(tmp_path / "file")


def test_a_folder_can_be_one_run(tmp_path: Path) -> None:
    _begin(tmp_path / "only", 1, filters=False)

    [run] = find_runs(tmp_path / "only")

    assert (run.name, run.epochs_done, run.filter_epochs()) == ("only", 1, [])


def test_without_proc_locks_the_last_change_shows_whether_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _begin(tmp_path / "run", 2)
    monkeypatch.setattr(runs, "_LOCKS", tmp_path / "none")

    assert read_run(run.folder).state == "running"
    long_ago = time.time() - 3_600
    os.utime(run.folder / "metrics.jsonl", (long_ago, long_ago))
    assert read_run(run.folder).state == "stopped"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{}"),
        ("config.json", b"\xff"),
        ("config.json", b'{"network": "x", "epochs": "many"}'),
        ("metrics.jsonl", b"[]"),
        ("metrics.jsonl", b'{"epoch": "one"}'),
        ("metrics.jsonl", b'{"epoch": 1'),
    ],
)
def test_a_damaged_run_is_left_out_of_the_list(tmp_path: Path, name: str, content: bytes) -> None:
    _begin(tmp_path / "good", 1)
    damaged = _begin(tmp_path / "damaged", 1)
    (damaged.folder / name).write_bytes(content)

    assert [run.name for run in find_runs(tmp_path)] == ["good"]
    with pytest.raises(SourceError, match="the run damaged cannot be read"):
        read_run(damaged.folder)


def test_values_that_are_not_finite_numbers_are_left_out(tmp_path: Path) -> None:
    run = _begin(tmp_path / "run", 0)
    row = {"epoch": 1, "loss": float("nan"), "seconds": float("inf"), "note": "x", "flag": True, "top1": 0.5}
    (run.folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")

    assert read_run(run.folder).rows == [{"epoch": 1, "top1": 0.5}]


def test_damaged_filters_are_refused(tmp_path: Path) -> None:
    run = _begin(tmp_path / "run", 3)
    (run.folder / "filters" / "00001.npy").write_bytes(b"damaged")
    np.save(run.folder / "filters" / "00002.npy", np.array([object()]), allow_pickle=True)
    np.save(run.folder / "filters" / "00003.npy", np.full((1, 3, 5, 5), np.nan, np.float32))

    for epoch in (1, 2, 3, 4):
        with pytest.raises(SourceError, match=f"filters of run at epoch {epoch} cannot be read"):
            read_run(run.folder).filters(epoch)


def test_the_settings_that_are_read_are_fields_of_the_training_config() -> None:
    assert {"network", "epochs"} <= {field.name for field in dataclasses.fields(TrainConfig)}
