"""A comparison from files to results, tables, charts and JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from training.compare import charts as plots
from training.compare.measure import compare
from training.compare.models import in_repository
from training.compare.results import Comparison, Margin, from_json, to_json
from training.compare.shifts import Rate
from training.compare.table import markdown, verdict
from training.errors import CheckpointError, DataError
from training.evaluation.metrics import evaluate, onnx_predictor

if TYPE_CHECKING:
    from pathlib import Path

    from training.data.dataset import Split


class _RecordedProgress:
    def __init__(self) -> None:
        self.expected: dict[str, int] = {}
        self.images: dict[str, int] = {}
        self.turns = [0, 0]
        self._name = ""

    def on_model(self, name: str, images: int) -> None:
        self._name = name
        self.expected[name], self.images[name] = images, 0

    def on_images(self, n: int) -> None:
        self.images[self._name] += n

    def on_speed(self, turns: int) -> None:
        self.turns[0] = turns

    def on_turn(self) -> None:
        self.turns[1] += 1


@pytest.fixture
def comparison(repository: Path, test_split: Split) -> Comparison:
    subjects, _ = in_repository(repository)
    return compare(
        subjects, test_split, "synthetic colours", _RecordedProgress(), shift_images=100, rounds=2, turn_s=0
    )


def test_every_figure_is_what_the_parts_measure(
    comparison: Comparison, repository: Path, test_split: Split
) -> None:
    colours, pixels = comparison.rows
    path = repository / "pixels" / "10" / "model.onnx"
    expected = evaluate(onnx_predictor(path), test_split)

    assert (colours.parameters, colours.multiply_adds) == (40, 30_720)
    assert (pixels.parameters, pixels.multiply_adds) == (30_730, 30_720)
    assert (pixels.top1.mean, pixels.top3.mean) == (expected.top1, expected.top3)
    assert pixels.top1.standard_error == expected.top1_standard_error
    assert pixels.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert pixels.size_bytes == path.stat().st_size
    assert pixels.speed.median > 0
    assert (comparison.images, comparison.shift_images) == (1_000, 100)


def test_sharing_weights_keeps_answers_and_the_verdict_says_so(comparison: Comparison) -> None:
    colours, pixels = comparison.rows

    assert comparison.baseline == "pixels"
    assert colours.shifted[0].unchanged == Rate(1, 0)
    assert colours.shifted[4].unchanged.mean > 0.85
    assert pixels.shifted[4].unchanged.mean < 0.6
    assert comparison.margins[3].name == "colours"
    assert comparison.margins[3].unchanged.mean == pytest.approx(
        colours.shifted[4].unchanged.mean - pixels.shifted[4].unchanged.mean
    )


def test_the_progress_sees_every_image_and_turn(repository: Path, test_split: Split) -> None:
    progress = _RecordedProgress()
    subjects, _ = in_repository(repository)

    compare(subjects, test_split[:40], "x", progress, shift_images=20, rounds=3, turn_s=0)

    assert progress.images == progress.expected == {"colours": 40 + 17 * 20, "pixels": 40 + 17 * 20}
    assert progress.turns == [6, 6]


def test_too_few_images_are_refused(repository: Path, test_split: Split) -> None:
    subjects, _ = in_repository(repository)

    with pytest.raises(DataError, match="1 test images"):
        compare(subjects, test_split[:1], "x", _RecordedProgress(), shift_images=20)


def test_json_keeps_everything(comparison: Comparison) -> None:
    assert from_json(to_json(comparison)) == comparison


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 0}', '{"format": 1, "rows": [{}]}'])
def test_another_file_is_no_comparison(text: str) -> None:
    with pytest.raises(CheckpointError, match=r"not a compare\.json"):
        from_json(text)


def _with_margins(comparison: Comparison, *margins: Margin) -> Comparison:
    return dataclasses.replace(comparison, margins=margins)


GOOD, NONE = Rate(0.2, 0.01), Rate(0.01, 0.01)


def test_the_verdict_needs_both_measures_at_every_distance(comparison: Comparison) -> None:
    clear = [Margin("colours", distance, GOOD, GOOD) for distance in (1, 2)]
    unclear = Margin("colours", 2, NONE, GOOD)
    lost = Margin("colours", 1, GOOD, Rate(-0.2, 0.01))

    assert verdict(_with_margins(comparison, *clear)).startswith("Yes: weight sharing and pooling beat")
    assert verdict(_with_margins(comparison, clear[0], unclear)).startswith("No: ")
    assert verdict(_with_margins(comparison, lost, clear[1])).startswith("No: ")


def test_the_verdict_tells_who_does_and_who_does_not(comparison: Comparison) -> None:
    second = dataclasses.replace(comparison.rows[0], name="second")
    both = dataclasses.replace(comparison, rows=(*comparison.rows, second))

    text = verdict(_with_margins(both, Margin("colours", 1, GOOD, GOOD), Margin("second", 1, GOOD, NONE)))

    assert text.startswith("In part: colours clearly better than the fully connected one, second not.")
    assert "At 4 pixels pixels keeps" in text
    assert text.endswith("(n = 100).")


def test_the_verdict_is_silent_where_there_is_nothing_to_compare(comparison: Comparison) -> None:
    alone = dataclasses.replace(comparison, baseline=None, margins=())

    assert verdict(alone).startswith("No fully connected network is among these")
    assert verdict(_with_margins(comparison)).startswith("No convolutional network is among these")


def test_markdown_holds_every_model_and_both_n(comparison: Comparison) -> None:
    text = markdown(comparison)

    assert "| colours | 40 | 0.03 |" in text
    assert text.count("| pixels |") == 2
    assert "on 1,000 images (test split, synthetic colours)" in text
    assert "The same 100 of the test images" in text
    assert verdict(comparison) in text
    assert "commit abcdefabcdef-dirty;" in markdown(
        dataclasses.replace(comparison, commit="abcdef" * 6 + "-dirty")
    )


def test_pictures_are_drawn_with_many_models(comparison: Comparison, tmp_path: Path) -> None:
    rows = tuple(dataclasses.replace(row, name=f"{row.name}{i}") for i in range(6) for row in comparison.rows)
    many = dataclasses.replace(comparison, rows=rows)

    plots.accuracy_by_cost(many, tmp_path / "accuracy.png")
    plots.robustness_by_distance(many, tmp_path / "shifts.png")

    for name in ("accuracy.png", "shifts.png"):
        with Image.open(tmp_path / name) as image:
            assert np.asarray(image.convert("L")).std() > 10


def test_the_file_names_no_folder_of_this_machine(comparison: Comparison, tmp_path: Path) -> None:
    assert str(tmp_path) not in to_json(comparison)
    assert json.loads(to_json(comparison))["format"] == 1
