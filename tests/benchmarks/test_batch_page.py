"""docs/batch.md shows the figures of the last ``make bench-batch``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import batch, batch_page
from benchmarks.goals import Goal

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def results(tmp_path: Path) -> list[dict[str, Any]]:
    """Keep a figure of speed and one of memory, as the benchmarks do."""
    goals = [
        Goal("zip to rows.csv / alone", "", [0.91, 0.93, 0.97], at_least=0.9, digits=3),
        Goal("a list of 1,000,000 images to rows.csv: peak memory", "MB", [412.0], at_most=400),
    ]
    for goal in goals:
        batch.keep(tmp_path / f"{goal.unit}.json", "3 images: test of a.zip", {"one": goal})
    return [json.loads((tmp_path / f"{goal.unit}.json").read_text()) for goal in goals]


def test_the_page_shows_the_committed_figures() -> None:
    if not all(path.exists() for path in batch_page.RESULTS):
        pytest.skip("no run of make bench-batch is committed")
    page = batch_page.PAGE.read_text()
    committed = [json.loads(path.read_text()) for path in batch_page.RESULTS]

    assert batch_page.with_table(page, *committed) == page, "run: python -m benchmarks.batch_page"


def test_a_row_has_median_spread_n_and_whether_the_goal_is_met(results: list[dict[str, Any]]) -> None:
    lines = batch_page.table(*results).splitlines()

    assert lines[2] == "| zip to rows.csv / alone | **0.93** (0.91-0.97), n=3 | ≥ 0.9: met |"
    assert lines[3] == (
        "| a list of 1,000,000 images to rows.csv: peak memory, MB | **412**, n=1 | ≤ 400: **missed** |"
    )
    assert "3 images: test of a.zip, model cifar10net" in " ".join(lines)


def test_only_what_is_between_the_markers_changes(results: list[dict[str, Any]]) -> None:
    page = "before\n<!-- make bench-batch: begin -->\nold\n<!-- make bench-batch: end -->\nafter\n"

    written = batch_page.with_table(page, *results)

    assert written.startswith("before\n<!-- make bench-batch: begin -->\n| by `make bench-batch` |")
    assert written.endswith("\n<!-- make bench-batch: end -->\nafter\n")
    assert "old" not in written
    assert "<!-- make bench-batch: begin -->\n" in batch_page.PAGE.read_text()


def test_a_page_without_markers_is_left_alone(results: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="has no <!-- make bench-batch: begin -->"):
        batch_page.with_table("a page", *results)
