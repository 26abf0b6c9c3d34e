"""``cifar10net-train``: fit, evaluate, export, manifest and summary, with errors told in one sentence."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import click
from rich import box
from rich.console import Console
from rich.table import Table

from training.config import TrainConfig
from training.dataset import CLASS_NAMES, DataSet, hold_out
from training.errors import CheckpointError, Interrupted, TrainingError
from training.evaluate import Evaluation, Predictor, evaluate, onnx_predictor, torch_predictor
from training.export import export as export_checkpoint
from training.files import write_text
from training.manifest import MANIFEST_NAME, describe
from training.networks import NETWORKS
from training.progress import ProgressReporter
from training.run import CHECKPOINT_NAME, Checkpoint, Run, load_checkpoint
from training.summary import layer_rows
from training.train import fit as fit_network
from training.train import resume as resume_run
from training.train import trained_network

_INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C
_DEFAULTS: dict[str, Any] = asdict(TrainConfig())
_Command = TypeVar("_Command", bound=Callable[..., Any])

_data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="CIFAR10NET_DATA",
    help="cifar-10-python.tar.gz or its folder, or a folder or zip with train/<class>/* and "
    "test/<class>/* images. Without it the official archive is downloaded.",
)
_cache_option = click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="CIFAR10NET_CACHE_DIR",
    help="Where downloads and decoded pixels are kept. Default: the user's cache folder.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(version("cifar10net"))
def cli() -> None:
    """Train, evaluate and export networks for CIFAR-10."""


def main() -> None:
    """Run the command line; exit 1 for a failure, 2 for wrong usage, 130 when interrupted."""
    try:
        cli()
    except Interrupted as stopped:
        click.echo(str(stopped), err=True)
        sys.exit(_INTERRUPTED)
    except TrainingError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


def _setting(name: str, kind: type | click.ParamType[Any], text: str) -> Callable[[_Command], _Command]:
    """Make the option of one TrainConfig field; ranges are TrainConfig's business."""
    return click.option(f"--{name.replace('_', '-')}", type=kind, default=_DEFAULTS[name], help=text)


@cli.command()
@_data_option
@_cache_option
@click.option("--out", type=click.Path(path_type=Path), help="New run folder.")
@click.option("--resume", type=click.Path(path_type=Path), help="Run folder to continue, with its settings.")
@_setting("network", click.Choice(list(NETWORKS)), "Architecture.")
@_setting("seed", int, "Same seed, same machine, same weights.")
@_setting("epochs", int, "Passes over the training images.")
@_setting("batch_size", int, "Images a step.")
@_setting("peak_learning_rate", float, "Highest learning rate of the one-cycle schedule.")
@_setting("warmup_fraction", float, "Share of the steps before the peak.")
@_setting("momentum", float, "Nesterov momentum.")
@_setting("weight_decay", float, "L2 penalty of weights (not biases).")
@_setting("shift_px", int, "Largest random shift in pixels.")
@_setting("average_decay", float, "How slowly the averaged weights follow.")
@_setting("validation_per_class", int, "Training images of each class held out.")
@click.option("--threads", type=int, help="CPU threads; default: as many as this process may use.")
@click.pass_context
def fit(  # noqa: PLR0913 - click passes each option by name
    context: click.Context,
    /,
    *,
    data: Path | None,
    cache_dir: Path | None,
    out: Path | None,
    resume: Path | None,
    threads: int | None,
    **settings: Any,  # noqa: ANN401 - checked by TrainConfig
) -> None:
    """Train a network. Ctrl-C saves the run; --resume continues it to the same weights."""
    if (out is None) == (resume is None):
        raise click.UsageError("give one of --out (a new run) and --resume (a stopped one)")
    console = Console(highlight=False, markup=False)
    if resume is not None:
        _refuse_settings(context)
        run, config = Run(resume), Run(resume).load().config
    else:
        run = Run(Path(str(out)))
        config = TrainConfig(threads=_usable_cpus() if threads is None else threads, **settings)
    images = DataSet(data, cache_dir).split("train")
    console.print(f"{config.network}, seed {config.seed}: {len(images):,} images, {run.folder}")
    with ProgressReporter(console, config.epochs) as reporter:
        if resume is None:
            fit_network(run, config, images, reporter)
        else:
            resume_run(run, images, reporter)
    console.print(f"finished: {run.folder}")


def _refuse_settings(context: click.Context) -> None:
    """A resumed run keeps its settings: one given beside --resume would be ignored."""
    for name in (*_DEFAULTS, "threads"):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"--{name.replace('_', '-')} has no effect with --resume: a run keeps its settings"
            )


@cli.command("evaluate")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    required=True,
    help="An .onnx file, a run folder, or its checkpoint.pt.",
)
@_data_option
@_cache_option
@click.option(
    "--split",
    type=click.Choice(["test", "validation"]),
    default="test",
    help="validation: the images that fit held out of the training split.",
)
@click.option(
    "--validation-per-class",
    type=int,
    help="With --split validation: as many as fit held out. A run knows; an .onnx says so in its recipe. "
    f"Default for an .onnx: {_DEFAULTS['validation_per_class']}.",
)
def evaluate_model(
    *, model: Path, data: Path | None, cache_dir: Path | None, split: str, validation_per_class: int | None
) -> None:
    """Print top-1, top-3, per-class accuracy and the confusion matrix."""
    predict, kind, held_out = _predictor(model)
    source = DataSet(data, cache_dir)
    if split == "test":
        images = source.split("test")
    else:
        _, images = hold_out(source.split("train"), validation_per_class or held_out)
    result = evaluate(predict, images)
    console = Console(highlight=False, markup=False)
    console.print(
        f"{model} on {kind}\n{result.n:,} images: {split} split, {source.description()}\n"
        f"top-1 {result.top1:.2%} (standard error {result.top1_standard_error:.2%})  "
        f"top-3 {result.top3:.2%}  loss {result.loss:.4f}",
        soft_wrap=True,
    )
    console.print(_confusion_table(result))


def _predictor(model: Path) -> tuple[Predictor, str, int]:
    """Return the model, what runs it, and how many images a class were held out from it."""
    if model.suffix == ".onnx":
        return onnx_predictor(model), "ONNX Runtime", _DEFAULTS["validation_per_class"]
    checkpoint = _checkpoint(model)
    predict = torch_predictor(trained_network(checkpoint))
    return predict, "PyTorch", checkpoint.config.validation_per_class


def _checkpoint(model: Path) -> Checkpoint:
    return load_checkpoint(model / CHECKPOINT_NAME if model.is_dir() else model)


def _confusion_table(result: Evaluation) -> Table:
    table = _table("rows: true class, columns: predicted class")
    table.add_column("class")
    table.add_column("top-1", justify="right")
    for label in CLASS_NAMES:
        table.add_column(label[:5], justify="right")
    for label, accuracy, counts in zip(CLASS_NAMES, result.per_class, result.confusion, strict=True):
        table.add_row(label, f"{accuracy:.1%}", *(str(count) for count in counts))
    return table


@cli.command("export")
@click.option(
    "--run",
    "model",
    type=click.Path(path_type=Path),
    required=True,
    help="A finished run folder, or its checkpoint.pt.",
)
@_data_option
@_cache_option
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    default=Path("exported_models"),
    help="Model repository to write into.",
)
@click.option("--model-version", type=click.IntRange(min=1), default=1, help="Version folder.")
@click.option(
    "--replace",
    is_flag=True,
    help="Replace another model of that version instead of refusing.",
)
def export_model(  # noqa: PLR0913 - click passes each option by name
    *, model: Path, data: Path | None, cache_dir: Path | None, to: Path, model_version: int, replace: bool
) -> None:
    """Write a run as .onnx, measured on the test split and compared with PyTorch.

    Beside model.onnx goes manifest.json: its digest, its signature and golden answers, which a server checks
    before it serves. A new version appears whole or not at all, to servers that watch the folder too.
    """
    checkpoint = _checkpoint(model)
    if not checkpoint.is_finished:
        raise CheckpointError(
            f"{model} has done {checkpoint.epoch} of {checkpoint.config.epochs} epochs; finish it "
            f"with cifar10net-train fit --resume {model}"
        )
    source = DataSet(data, cache_dir)
    done = export_checkpoint(
        checkpoint, source.split("test"), source.description(), to, model_version, may_replace=replace
    )
    click.echo(
        f"wrote {done.path}: top-1 {done.evaluation.top1:.2%}, top-3 {done.evaluation.top3:.2%} on "
        f"{done.evaluation.n:,} images (test split, {source.description()}); ONNX Runtime and "
        f"PyTorch differ by at most {done.largest_difference:.1e} on {done.compared:,} images"
    )


@cli.command("manifest")
@click.argument("model", type=click.Path(path_type=Path))
def write_manifest(*, model: Path) -> None:
    """Write manifest.json beside an exported MODEL that has none, such as one of an earlier release."""
    write_text(model.with_name(MANIFEST_NAME), describe(model))
    click.echo(f"wrote {model.with_name(MANIFEST_NAME)}")


@cli.command()
@click.option("--network", type=click.Choice(list(NETWORKS)), default="cifar10net")
def summary(network: str) -> None:
    """Print a network's layers: shapes, parameters, multiply-adds, receptive fields."""
    rows = layer_rows(NETWORKS[network]())
    table = _table(f"{network}: input 32x32x3")
    for title in ("layer", "output", "kernel", "stride", "padding"):
        table.add_column(title)
    for title in ("parameters", "multiply-\nadds", "receptive\nfield"):
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            "x".join(map(str, row.output)),
            *("" if value is None else str(value) for value in (row.kernel, row.stride, row.padding)),
            f"{row.parameters:,}",
            f"{row.multiply_adds:,}",
            "all" if row.receptive_field is None else str(row.receptive_field),
        )
    table.add_section()
    totals = (sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows))
    table.add_row("total", "", "", "", "", f"{totals[0]:,}", f"{totals[1]:,}", "")
    Console().print(table)


def _table(title: str) -> Table:
    """Make a table that fits 80 columns."""
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


if __name__ == "__main__":
    main()
