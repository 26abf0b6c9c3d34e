"""``cifar10net-train evaluate``."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import click

from training.commands.options import cache_option, checkpoint_at, data_option, table
from training.commands.presentation import console, echo_object, examples, json_option
from training.data.cifar10 import CLASS_NAMES
from training.data.dataset import DataSet, hold_out
from training.evaluation.metrics import (
    Evaluation,
    Predictor,
    evaluate,
    open_onnx,
    session_predictor,
    torch_predictor,
)
from training.export.model_card import held_out_per_class
from training.learning.config import TrainConfig
from training.learning.train import trained_network

if TYPE_CHECKING:
    from rich.table import Table


@click.command(
    "evaluate",
    epilog=examples(
        "cifar10net-train evaluate --model exported_models/cifar10net/1/model.onnx",
        "cifar10net-train evaluate --model runs/first --split validation --json",
    ),
)
@click.option(
    "--model",
    "models",
    type=click.Path(path_type=Path),
    required=True,
    multiple=True,
    help="An .onnx file, a run folder, or its checkpoint.pt. Repeat it to compare seeds of a recipe.",
)
@data_option
@cache_option
@click.option(
    "--split",
    type=click.Choice(["test", "validation"]),
    default="test",
    help="validation: training images held out by fit.",
)
@click.option(
    "--validation-per-class",
    type=int,
    help="With --split validation: images of each class held out by fit. Default: as recorded in the run or "
    f".onnx, or {TrainConfig.validation_per_class}.",
)
@json_option
def evaluate_model(  # noqa: PLR0913 - click passes each option by name
    *,
    models: tuple[Path, ...],
    data: Path | None,
    cache_dir: Path | None,
    split: str,
    validation_per_class: int | None,
    as_json: bool,
) -> None:
    """Measure a model's accuracy.

    Prints top-1, top-3, accuracy by class and the confusion matrix on test or validation images. Several
    models get a line each, followed by their mean and standard deviation.
    """
    opened = [_predictor(model) for model in models]  # fails before any is measured
    source = DataSet(data, cache_dir)
    read = source.split("test" if split == "test" else "train")
    screen, objects, results = console(), [], []
    for model, (predict, kind, held_out) in zip(models, opened, strict=True):
        images = read if split == "test" else hold_out(read, validation_per_class or held_out)[1]
        results.append(evaluate(predict, images))
        subject = {"model": str(model), "engine": kind, "split": split, "source": source.description()}
        objects.append(subject | _facts(results[-1]))
        if not as_json:
            screen.print(_lines(model, kind, split, source, results[-1]), soft_wrap=True)
    if as_json:
        echo_object(objects[0] if len(objects) == 1 else {"models": objects, **_spread(results)})
    elif len(results) == 1:
        screen.print(_confusion_table(results[0]))
    else:
        screen.print(_spread_line(results), soft_wrap=True)


def _lines(model: Path, kind: str, split: str, source: DataSet, result: Evaluation) -> str:
    return (
        f"{model} on {kind}\n{result.n:,} images: {split} split, {source.description()}\n"
        f"top-1 {result.top1:.2%} (standard error {result.top1_standard_error:.2%})  "
        f"top-3 {result.top3:.2%}  loss {result.loss:.4f}"
    )


def _spread(results: list[Evaluation]) -> dict[str, dict[str, float]]:
    """Compute mean and sample standard deviation over the models."""
    rates = {name: [getattr(result, name) for result in results] for name in ("top1", "top3", "loss")}
    return {
        word: {name: compute(values) for name, values in rates.items()}
        for word, compute in (("mean", mean), ("sd", stdev))
    }


def _spread_line(results: list[Evaluation]) -> str:
    spread = _spread(results)
    shown = "  ".join(
        f"{title} {spread['mean'][name]:.2%} (sd {spread['sd'][name]:.2%})"
        for title, name in (("top-1", "top1"), ("top-3", "top3"))
    )
    return f"mean of {len(results)} models: {shown}"


def _facts(result: Evaluation) -> dict[str, Any]:
    """Return an evaluation for JSON; a class without images becomes null."""
    shares = (None if math.isnan(share) else float(share) for share in result.per_class)
    return {
        "images": result.n,
        "top1": result.top1,
        "top1_standard_error": result.top1_standard_error,
        "top3": result.top3,
        "loss": result.loss,
        "per_class": dict(zip(CLASS_NAMES, shares, strict=True)),
        "confusion": result.confusion.tolist(),
    }


def _predictor(model: Path) -> tuple[Predictor, str, int]:
    """Return a predictor, the engine that runs it, and the images of each class held out in training."""
    if model.suffix == ".onnx":
        session = open_onnx(model)
        recipe = session.get_modelmeta().custom_metadata_map.get("recipe", "")
        held_out = held_out_per_class(recipe) or TrainConfig.validation_per_class
        return session_predictor(session), "ONNX Runtime", held_out
    checkpoint = checkpoint_at(model)
    predict = torch_predictor(trained_network(checkpoint))
    return predict, "PyTorch", checkpoint.config.validation_per_class


def _confusion_table(result: Evaluation) -> Table:
    rows = table("rows: true class, columns: predicted class")
    rows.add_column("class")
    rows.add_column("top-1", justify="right")
    for label in CLASS_NAMES:
        rows.add_column(label[:5], justify="right")
    for label, accuracy, counts in zip(CLASS_NAMES, result.per_class, result.confusion, strict=True):
        rows.add_row(label, f"{accuracy:.1%}", *(str(count) for count in counts))
    return rows
