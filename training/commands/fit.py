"""``cifar10net-train fit``."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import Progress

from training.commands.options import cache_option, checkpoint_at, data_option, setting_options
from training.commands.presentation import console, echo_object, examples, json_option
from training.data.dataset import DataSet, Split
from training.errors import CheckpointError, Interrupted
from training.evaluation.metrics import Predictor, onnx_predictor, torch_predictor
from training.learning.config import TrainConfig
from training.learning.data_parallel import (
    ProcessGroup,
    local_rank,
    local_world_size,
    process_group,
    world_size,
)
from training.learning.devices import open_device
from training.learning.progress import ProgressReporter, Reporters
from training.learning.recipes import DEFAULT as RECIPE
from training.learning.recipes import RECIPES
from training.learning.run import CHECKPOINT_NAME, Run
from training.learning.teacher import TeacherLogits, teacher_logits
from training.learning.tensorboard import EventReporter
from training.learning.train import fit as fit_network
from training.learning.train import resume as resume_run
from training.learning.train import trained_network
from training.settings import settings_of

if TYPE_CHECKING:
    from rich.console import Console

_OWN_OPTIONS = {"threads"}  # its default depends on the machine
_GIVEN = {click.core.ParameterSource.COMMANDLINE, click.core.ParameterSource.ENVIRONMENT}


@click.command(
    epilog=examples(
        "cifar10net-train fit --out runs/first",
        "cifar10net-train fit --out runs/quick --epochs 1 --seed 1 --json",
        "cifar10net-train fit --resume runs/first",
        "torchrun --nproc-per-node 2 -m training fit --out runs/shared",
    )
)
@data_option
@cache_option
@click.option("--out", type=click.Path(path_type=Path), help="New run folder.")
@click.option("--resume", type=click.Path(path_type=Path), help="Run folder to continue, with its settings.")
@click.option(
    "--recipe",
    type=click.Choice(list(RECIPES)),
    default=RECIPE,
    help="Settings to start from; the options below override them.",
)
@setting_options(TrainConfig, asdict(RECIPES[RECIPE]), leave_out=_OWN_OPTIONS, recipe=RECIPE)
@click.option(
    "--compile", is_flag=True, help="Fuse layers with torch.compile; the first step takes a minute."
)
@click.option(
    "--tensorboard",
    is_flag=True,
    help="Also write event files for TensorBoard, to the folder tensorboard of the run.",
)
@click.option(
    "--threads", type=int, help="CPU threads. Default: an equal share of the CPUs for each process."
)
@json_option
@click.pass_context
def fit(  # noqa: PLR0913 - click passes each option by name
    context: click.Context,
    /,
    *,
    data: Path | None,
    cache_dir: Path | None,
    out: Path | None,
    resume: Path | None,
    recipe: str,
    compile: bool,  # noqa: A002 - the name of the option
    tensorboard: bool,
    threads: int | None,
    as_json: bool,
    **settings: Any,  # noqa: ANN401 - checked by TrainConfig
) -> None:
    """Train a network.

    Ctrl-C saves the run; --resume continues it to the same weights. Processes that torchrun starts, as in the
    last example, share each batch and arrive at the same weights up to rounding.
    """
    if (out is None) == (resume is None):
        raise click.UsageError("give one of --out (a new run) and --resume (a stopped one)")
    if resume is not None:
        _refuse_settings(context)
        run, config = Run(resume), Run(resume).load().config
    else:
        run = Run(Path(str(out)))
        given = {name: value for name, value in settings.items() if value is not None}
        cpus = max(1, _usable_cpus() // local_world_size()) if threads is None else threads
        config = replace(RECIPES[recipe], processes=world_size(), compile=compile, threads=cpus, **given)
    with process_group(open_device(config.device, local_rank())) as group:
        screen = console(quiet=not group.is_leader, stderr=as_json)
        try:
            with ExitStack() as stack:
                events = None
                if tensorboard and group.is_leader:
                    events = stack.enter_context(EventReporter(run.folder))
                _train(run, config, DataSet(data, cache_dir), screen, group, events, is_new=resume is None)
        except Interrupted as stopped:
            if group.is_leader:
                raise
            context.exit(stopped.exit_code)
        if as_json and group.is_leader:
            echo_object({"run": str(run.folder)} | run.metrics()[-1])


def _train(  # noqa: PLR0913, PLR0917 - one argument for each option
    run: Run,
    config: TrainConfig,
    source: DataSet,
    console: Console,
    group: ProcessGroup,
    events: EventReporter | None,
    *,
    is_new: bool,
) -> None:
    """Start or resume a run, as one process of a group."""
    if not group.is_leader:
        group.barrier()  # the leader decodes the images into the cache
    images = source.split("train")
    if group.is_leader:
        group.barrier()

    def ask(config: TrainConfig, images: Split) -> TeacherLogits:
        return _ask_teacher(config, images, source.cache_dir, console)

    shared = f", {group.size} processes" if group.size > 1 else ""
    console.print(
        f"{config.network}, seed {config.seed}: {len(images):,} images, {run.folder}{shared}", soft_wrap=True
    )
    with ProgressReporter(console, config.epochs) as progress:
        reporter = progress if events is None else Reporters(progress, events)
        if is_new:
            fit_network(run, config, images, reporter, ask, group)
        else:
            resume_run(run, images, reporter, ask, group)
    console.print(f"finished: {run.folder}", soft_wrap=True)


def _refuse_settings(context: click.Context) -> None:
    """Refuse settings given with --resume, which would be ignored."""
    for name in (*settings_of(TrainConfig), "compile", "recipe"):
        if context.get_parameter_source(name) in _GIVEN:
            raise click.UsageError(
                f"--{name.replace('_', '-')} has no effect with --resume: a run keeps its settings"
            )


def _ask_teacher(config: TrainConfig, images: Split, cache_dir: Path, console: Console) -> TeacherLogits:
    """Compute or load the teacher's logits, showing progress."""
    teacher = Path(config.teacher)

    def open_teacher() -> Predictor:
        if teacher.suffix == ".onnx":
            return onnx_predictor(teacher)
        return torch_predictor(trained_network(checkpoint_at(teacher)), config.precision)

    file = teacher / CHECKPOINT_NAME if teacher.is_dir() else teacher
    try:
        identity = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise CheckpointError(f"cannot read the teacher {file}: {error.strerror}") from error
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("asking the teacher")
        return teacher_logits(
            open_teacher,
            identity,
            images,
            cache_dir,
            lambda done, total: progress.update(task, completed=done, total=total),
        )


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
