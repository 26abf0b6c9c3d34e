"""Measures models beside one another: weight, accuracy, moved images, speed.

In: models and the test split. Out: a ``Comparison``. Every model gets the same images, and one forward pass
for each. Knows nothing of tables and pictures.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from training.compare import shifts, speed
from training.compare.results import Comparison, Margin, Row, Shifted
from training.compare.shifts import Rate
from training.errors import DataError
from training.evaluation.metrics import open_onnx, predict_all, score, session_predictor
from training.onnx_graph.cost import CONVOLUTIONAL, FULLY_CONNECTED, graph_cost
from training.provenance import library_versions, machine, source_commit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.compare.models import Subject
    from training.compare.shifts import Moved
    from training.compare.speed import Speed
    from training.data.dataset import Split
    from training.evaluation.metrics import Evaluation
    from training.onnx_graph.cost import GraphCost

FEWEST_IMAGES = 2  # for a spread


class Listener(Protocol):
    """What is told how far the measurement is."""

    def on_model(self, name: str, images: int) -> None:
        """Begin a model that will look at so many images."""

    def on_images(self, n: int) -> None:
        """Count images that were looked at."""

    def on_speed(self, turns: int) -> None:
        """Begin the timing, in so many turns."""

    def on_turn(self) -> None:
        """Count a turn."""


@dataclass(frozen=True)
class _Measured:
    subject: Subject
    weight: GraphCost
    evaluation: Evaluation
    moved: tuple[Moved, ...]


def compare(  # noqa: PLR0913 - what, on what, how thoroughly
    subjects: Sequence[Subject],
    test: Split,
    data_description: str,
    listener: Listener,
    *,
    shift_images: int,
    rounds: int = speed.ROUNDS,
    turn_s: float = speed.TURN_S,
) -> Comparison:
    """Measure every model.

    Args:
        subjects: models that ``models.check`` lets pass.
        test: the test split.
        data_description: what the images are.
        listener: told of the progress.
        shift_images: test images that are moved, chosen by class; all of them if there are no more.
        rounds: turns of each model in the timing, 2 or more.
        turn_s: processor time of a turn in seconds.

    Raises:
        CheckpointError: a model cannot be read, or its multiply-adds cannot be counted.
        DataError: there are too few images.
        MissingPackageError: onnx or onnxruntime is not installed.
    """
    if min(len(test), shift_images) < FEWEST_IMAGES:
        raise DataError(
            f"{len(test)} test images, {shift_images} of them to be moved, are too few: a spread needs "
            f"{FEWEST_IMAGES}"
        )
    chosen = test[shifts.choose(test, shift_images)]
    weights = [graph_cost(subject.path) for subject in subjects]  # refuses before minutes are spent
    measured = [
        _measure(subject, weight, test, chosen, listener)
        for subject, weight in zip(subjects, weights, strict=True)
    ]
    listener.on_speed(rounds * len(subjects))
    # One thread: the session computes in the thread that calls it.
    speeds = speed.measure(
        [session_predictor(open_onnx(subject.path, threads=1)) for subject in subjects],
        test.images[: speed.BATCH],
        rounds=rounds,
        turn_s=turn_s,
        on_turn=listener.on_turn,
    )
    baseline = _baseline(measured)
    return Comparison(
        rows=tuple(_row(each, its_speed) for each, its_speed in zip(measured, speeds, strict=True)),
        baseline=baseline.subject.name if baseline else None,
        margins=tuple(_margins(measured, baseline)) if baseline else (),
        data=f"test split, {data_description}",
        data_sha256=test.digest(),
        images=len(test),
        shift_images=len(chosen),
        batch=min(speed.BATCH, len(test)),
        machine=machine(),
        versions=library_versions("numpy", "onnx", "onnxruntime"),
        commit=source_commit(),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _measure(
    subject: Subject, weight: GraphCost, test: Split, chosen: Split, listener: Listener
) -> _Measured:
    moves = 1 + len(shifts.DISTANCES_PX) * len(shifts.DIRECTIONS)
    listener.on_model(subject.name, len(test) + moves * len(chosen))
    predict = session_predictor(open_onnx(subject.path))
    evaluation = score(predict_all(predict, test.images), test)
    listener.on_images(len(test))
    return _Measured(subject, weight, evaluation, shifts.move(predict, chosen, listener.on_images))


def _row(measured: _Measured, its_speed: Speed) -> Row:
    content = measured.subject.path.read_bytes()
    evaluation = measured.evaluation
    return Row(
        name=measured.subject.name,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        kind=measured.weight.kind,
        parameters=measured.weight.parameters,
        multiply_adds=measured.weight.multiply_adds,
        top1=Rate(evaluation.top1, evaluation.top1_standard_error),
        top3=Rate(evaluation.top3, math.sqrt(evaluation.top3 * (1 - evaluation.top3) / evaluation.n)),
        speed=its_speed,
        shifted=tuple(
            Shifted(each.distance_px, Rate.of(each.is_right), Rate.of(each.is_unchanged))
            for each in measured.moved
        ),
    )


def _baseline(measured: Sequence[_Measured]) -> _Measured | None:
    """Return the fully connected model that keeps most answers at the largest distance."""
    candidates = [each for each in measured if each.weight.kind == FULLY_CONNECTED]
    return max(candidates, key=lambda each: each.moved[-1].is_unchanged.mean(), default=None)


def _margins(measured: Sequence[_Measured], baseline: _Measured) -> list[Margin]:
    return [
        Margin(
            each.subject.name,
            mine.distance_px,
            Rate.of(mine.is_right - theirs.is_right),
            Rate.of(mine.is_unchanged - theirs.is_unchanged),
        )
        for each in measured
        if each.weight.kind == CONVOLUTIONAL
        for mine, theirs in zip(each.moved[1:], baseline.moved[1:], strict=True)
    ]
