"""``cifar10net-train evaluate``."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

import click
from rich.console import Console

from training.commands.options import DEFAULTS, cache_option, checkpoint_at, data_option, table
from training.dataset import CLASS_NAMES, DataSet, hold_out
from training.evaluate import Evaluation, Predictor, evaluate, open_onnx, predictor_of, torch_predictor
from training.model_card import held_out_per_class
from training.train import trained_network

if TYPE_CHECKING:
    from rich.table import Table


@click.command("evaluate")
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
    help="validation: the images that fit held out of the training split.",
)
@click.option(
    "--validation-per-class",
    type=int,
    help="With --split validation: as many as fit held out. Default: what the run or the recipe in the "
    f".onnx says, or {DEFAULTS['validation_per_class']}.",
)
def evaluate_model(
    *,
    models: tuple[Path, ...],
    data: Path | None,
    cache_dir: Path | None,
    split: str,
    validation_per_class: int | None,
) -> None:
    """Print top-1, top-3, per-class accuracy and the confusion matrix.

    Of several models it prints a line each, and the mean and the standard deviation over them.
    """
    opened = [_predictor(model) for model in models]  # a bad one is told of before any is measured
    source = DataSet(data, cache_dir)
    console = Console(highlight=False, markup=False)
    results = []
    for model, (predict, kind, held_out) in zip(models, opened, strict=True):
        if split == "test":
            images = source.split("test")
        else:
            _, images = hold_out(source.split("train"), validation_per_class or held_out)
        result = evaluate(predict, images)
        results.append(result)
        console.print(
            f"{model} on {kind}\n{result.n:,} images: {split} split, {source.description()}\n{_line(result)}",
            soft_wrap=True,
        )
    if len(results) == 1:
        console.print(_confusion_table(results[0]))
    else:
        console.print(_spread(results), soft_wrap=True)


def _line(result: Evaluation) -> str:
    return (
        f"top-1 {result.top1:.2%} (standard error {result.top1_standard_error:.2%})  "
        f"top-3 {result.top3:.2%}  loss {result.loss:.4f}"
    )


def _spread(results: list[Evaluation]) -> str:
    """Mean and sample standard deviation over the models: how much a recipe varies with its seed."""
    told = []
    for name in ("top1", "top3"):
        values = [getattr(result, name) for result in results]
        told.append(f"{name.replace('p', 'p-')} {mean(values):.2%} (sd {stdev(values):.2%})")
    return f"mean of {len(results)} models: {'  '.join(told)}"


def _predictor(model: Path) -> tuple[Predictor, str, int]:
    """Return the model, what runs it, and how many images a class were held out from it."""
    if model.suffix == ".onnx":
        session = open_onnx(model)
        recipe = session.get_modelmeta().custom_metadata_map.get("recipe", "")
        held_out = held_out_per_class(recipe) or DEFAULTS["validation_per_class"]
        return predictor_of(session), "ONNX Runtime", held_out
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
