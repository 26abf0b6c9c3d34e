"""Measures several models on the same images: cost, accuracy, shifted images, speed."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from training.compare import shifts, speed
from training.compare.results import Comparison, Margin, ModelResult, ShiftRates
from training.compare.shifts import Rate
from training.errors import DataError
from training.evaluation.metrics import open_onnx, predict_all, score, session_predictor
from training.onnx_graph.cost import CONVOLUTIONAL, FULLY_CONNECTED, graph_cost
from training.provenance import library_versions, machine, source_commit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.compare.models import ExportedModel
    from training.compare.shifts import ShiftedPredictions
    from training.compare.speed import Speed
    from training.data.dataset import Split
    from training.evaluation.metrics import Evaluation
    from training.onnx_graph.cost import GraphCost

FEWEST_IMAGES = 2  # for a standard error


class ComparisonProgress(Protocol):
    """Receives the progress of a comparison."""

    def on_model(self, name: str, images: int) -> None:
        """Handle the start of a model that will process so many images."""

    def on_images(self, n: int) -> None:
        """Handle ``n`` further images."""

    def on_speed(self, turns: int) -> None:
        """Handle the start of the timing, in so many turns."""

    def on_turn(self) -> None:
        """Handle the end of a turn."""


@dataclass(frozen=True)
class _Measured:
    model: ExportedModel
    weight: GraphCost
    evaluation: Evaluation
    shifted: tuple[ShiftedPredictions, ...]


def compare(  # noqa: PLR0913 - models, data, and how thoroughly
    models: Sequence[ExportedModel],
    test: Split,
    data_description: str,
    progress: ComparisonProgress,
    *,
    shift_images: int,
    rounds: int = speed.ROUNDS,
    turn_s: float = speed.TURN_S,
) -> Comparison:
    """Measure every model.

    Args:
        models: the models.
        test: the test split.
        data_description: where the images come from.
        progress: receives the progress.
        shift_images: number of test images to shift, stratified by class; at most all are used.
        rounds: turns of each model in the timing, 2 or more.
        turn_s: processor time of a turn in seconds.

    Raises:
        CheckpointError: a model cannot be read, or its multiply-adds cannot be counted.
        DataError: there are too few images.
        MissingPackageError: onnx or onnxruntime is not installed.
    """
    if min(len(test), shift_images) < FEWEST_IMAGES:
        raise DataError(
            f"{len(test)} test images, {shift_images} of them to be shifted, are too few, "
            f"wanted {FEWEST_IMAGES} or more for a standard error"
        )
    sample = test[shifts.stratified_sample(test, shift_images)]
    weights = [graph_cost(model.path) for model in models]  # fails before minutes are spent
    measured = [
        _measure(model, weight, test, sample, progress) for model, weight in zip(models, weights, strict=True)
    ]
    progress.on_speed(rounds * len(models))
    # With one thread, the session computes in the calling thread.
    speeds = speed.measure_speed(
        [session_predictor(open_onnx(model.path, threads=1)) for model in models],
        test.images[: speed.BATCH],
        rounds=rounds,
        turn_s=turn_s,
        on_turn=progress.on_turn,
    )
    baseline = _baseline(measured)
    return Comparison(
        rows=tuple(_result(each, its_speed) for each, its_speed in zip(measured, speeds, strict=True)),
        baseline=baseline.model.name if baseline else None,
        margins=tuple(_margins(measured, baseline)) if baseline else (),
        data=f"test split, {data_description}",
        data_sha256=test.digest(),
        images=len(test),
        shift_images=len(sample),
        batch=min(speed.BATCH, len(test)),
        machine=machine(),
        versions=library_versions("numpy", "onnx", "onnxruntime"),
        commit=source_commit(),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _measure(
    model: ExportedModel, weight: GraphCost, test: Split, sample: Split, progress: ComparisonProgress
) -> _Measured:
    passes = 1 + len(shifts.DISTANCES_PX) * len(shifts.DIRECTIONS)
    progress.on_model(model.name, len(test) + passes * len(sample))
    predict = session_predictor(open_onnx(model.path))
    evaluation = score(predict_all(predict, test.images), test)
    progress.on_images(len(test))
    return _Measured(model, weight, evaluation, shifts.predict_shifted(predict, sample, progress.on_images))


def _result(measured: _Measured, its_speed: Speed) -> ModelResult:
    content = measured.model.path.read_bytes()
    evaluation = measured.evaluation
    return ModelResult(
        name=measured.model.name,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        kind=measured.weight.kind,
        parameters=measured.weight.parameters,
        multiply_adds=measured.weight.multiply_adds,
        top1=Rate(evaluation.top1, evaluation.top1_standard_error),
        top3=Rate(evaluation.top3, math.sqrt(evaluation.top3 * (1 - evaluation.top3) / evaluation.n)),
        speed=its_speed,
        shifted=tuple(
            ShiftRates(each.distance_px, Rate.of(each.is_right), Rate.of(each.is_unchanged))
            for each in measured.shifted
        ),
    )


def _baseline(measured: Sequence[_Measured]) -> _Measured | None:
    """Return the fully connected model that keeps most predictions at the largest distance."""
    candidates = [each for each in measured if each.weight.kind == FULLY_CONNECTED]
    return max(candidates, key=lambda each: each.shifted[-1].is_unchanged.mean(), default=None)


def _margins(measured: Sequence[_Measured], baseline: _Measured) -> list[Margin]:
    return [
        Margin(
            each.model.name,
            mine.distance_px,
            Rate.of(mine.is_right - theirs.is_right),
            Rate.of(mine.is_unchanged - theirs.is_unchanged),
        )
        for each in measured
        if each.weight.kind == CONVOLUTIONAL
        for mine, theirs in zip(each.shifted[1:], baseline.shifted[1:], strict=True)
    ]
