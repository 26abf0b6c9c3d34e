"""``cifar10net-train fit``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from training.commands.options import DEFAULTS, cache_option, data_option
from training.config import TrainConfig
from training.dataset import DataSet
from training.networks import NETWORKS
from training.progress import ProgressReporter
from training.run import Run
from training.train import fit as fit_network
from training.train import resume as resume_run

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _setting(name: str, kind: type | click.ParamType[Any], text: str) -> Callable[[_Command], _Command]:
    """Make the option of one TrainConfig field; ranges are TrainConfig's business."""
    return click.option(f"--{name.replace('_', '-')}", type=kind, default=DEFAULTS[name], help=text)


@click.command()
@data_option
@cache_option
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
    for name in (*DEFAULTS, "threads"):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"--{name.replace('_', '-')} has no effect with --resume: a run keeps its settings"
            )


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
