"""The tables of models show the committed comparison, which is of the committed models."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from benchmarks import models
from training.compare.models import newest
from training.compare.results import from_json

if TYPE_CHECKING:
    from pathlib import Path


def test_the_pages_show_the_committed_comparison() -> None:
    page, short, results = (path.read_text() for path in (models.PAGE, models.README, models.RESULTS))

    assert models.with_table(page, results) == page, "run: python -m benchmarks.models"
    assert models.with_short_table(short, results) == short, "run: python -m benchmarks.models"


def test_the_short_table_has_six_columns_of_every_model() -> None:
    results = models.RESULTS.read_text()

    titles, _, *rows = models.short_table(results).splitlines()

    assert titles == "| model | parameters | multiply-adds, M | top-1 | top-3 | images/s, one core |"
    assert len(rows) == len(from_json(results).rows)
    assert {row.count("|") for row in rows} == {7}


def test_the_comparison_is_of_the_committed_models(root: Path) -> None:
    rows = from_json(models.RESULTS.read_text()).rows
    files = {row.name: newest(root / "exported_models" / row.name) for row in rows}

    assert files["cifar10net"] is not None
    for row in rows:
        file = files[row.name]
        if file is not None:  # one that is too large to be committed is made by a command
            assert row.sha256 == hashlib.sha256(file.read_bytes()).hexdigest(), (
                f"{row.name}: run make compare"
            )


def test_only_what_is_between_the_markers_changes() -> None:
    results = models.RESULTS.read_text()
    page = "before\n<!-- make compare: begin -->\nold\n<!-- make compare: end -->\nafter\n"

    written = models.with_table(page, results)

    assert written.startswith("before\n<!-- make compare: begin -->\n| model | parameters |")
    assert written.endswith("\n<!-- make compare: end -->\nafter\n")
    assert "old" not in written
    assert models.with_table(written, results) == written


def test_a_page_without_markers_is_left_alone() -> None:
    with pytest.raises(ValueError, match="has no <!-- make compare: begin -->"):
        models.with_table("a page", models.RESULTS.read_text())
