"""``cifar10net-train fit``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.progress import Progress

from training.commands.options import DEFAULTS, cache_option, checkpoint_at, data_option
from training.commands.presentation import console, echo_object, examples, json_option
from training.data.dataset import DataSet, Split
from training.errors import CheckpointError, Interrupted
from training.evaluation.metrics import Predictor, onnx_predictor, torch_predictor
from training.learning.config import CHOICES, TrainConfig
from training.learning.data_parallel import Team, gathered, local_rank, local_size, processes
from training.learning.devices import open_device
from training.learning.progress import Both, ProgressReporter
from training.learning.recipes import DEFAULT as RECIPE
from training.learning.recipes import RECIPES
from training.learning.run import CHECKPOINT_NAME, Run
from training.learning.teacher import TeacherAnswers, teacher_answers
from training.learning.tensorboard import EventReporter
from training.learning.train import fit as fit_network
from training.learning.train import resume as resume_run
from training.learning.train import trained_network
from training.networks import NETWORKS

if TYPE_CHECKING:
    from rich.console import Console

_Command = TypeVar("_Command", bound=Callable[..., Any])


_GIVEN = {click.core.ParameterSource.COMMANDLINE, click.core.ParameterSource.ENVIRONMENT}


def _setting(name: str, kind: type | click.ParamType[Any], text: str) -> Callable[[_Command], _Command]:
    """Make the option of one TrainConfig field; ranges are TrainConfig's business."""
    default = DEFAULTS[name]
    return click.option(
        f"--{name.replace('_', '-')}",
        type=kind,
        help=f"{text} [{RECIPE}: {'none' if default == '' else default}]",
    )


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
    help="Settings to begin with; each can be set otherwise below.",
)
@_setting("network", click.Choice(list(NETWORKS)), "Architecture.")
@_setting("seed", int, "Same seed, same machine, same weights.")
@_setting("epochs", int, "Passes over the training images.")
@_setting("batch_size", int, "Images a step.")
@_setting("peak_learning_rate", float, "Highest learning rate of the one-cycle schedule.")
@_setting("warmup_fraction", float, "Share of the steps before the peak.")
@_setting("momentum", float, "Nesterov momentum.")
@_setting("weight_decay", float, "L2 penalty of weights (not biases).")
@_setting("optimizer", click.Choice(CHOICES["optimizer"]), "muon: of convolutions alone.")
@_setting("muon_learning_rate", float, "Highest learning rate of Muon.")
@_setting("muon_weight_decay", float, "Decoupled weight decay of Muon.")
@_setting("kernels", click.Choice(CHOICES["kernels"]), "How kernels of convolutions are parameterised.")
@_setting("shift_px", int, "Largest random shift in pixels.")
@_setting("hide_px", int, "Side of the square that is hidden in each image, in pixels.")
@_setting("mix_share", float, "Share of the images that get a patch of another one.")
@_setting("flips", click.Choice(CHOICES["flips"]), "Which half of the images is mirrored.")
@_setting("precision", click.Choice(CHOICES["precision"]), "Arithmetic of convolutions and matrices.")
@_setting("teacher", str, "A run, its checkpoint.pt or an .onnx to learn from beside the labels.")
@_setting("teacher_share", float, "Of the loss; the rest is the labels'.")
@_setting("teacher_temperature", float, "Divides the logits of teacher and student.")
@_setting("average_decay", float, "How slowly the averaged weights follow.")
@_setting("validation_per_class", int, "Training images of each class held out.")
@_setting("device", click.Choice(CHOICES["device"]), "What computes.")
@click.option(
    "--compile", is_flag=True, help="Have torch.compile fuse layers; the first step takes a minute."
)
@click.option(
    "--tensorboard",
    is_flag=True,
    help="Write event files for TensorBoard too, into the folder tensorboard of the run.",
)
@click.option("--threads", type=int, help="CPU threads; default: this process's share of those there are.")
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

    Ctrl-C saves the run; --resume continues it to the same weights. Several processes share each batch, and
    come to the same weights but for rounding, if torchrun starts them, as in the last example.
    """
    if (out is None) == (resume is None):
        raise click.UsageError("give one of --out (a new run) and --resume (a stopped one)")
    if resume is not None:
        _refuse_settings(context)
        run, config = Run(resume), Run(resume).load().config
    else:
        run = Run(Path(str(out)))
        given = {name: value for name, value in settings.items() if value is not None}
        cpus = max(1, _usable_cpus() // local_size()) if threads is None else threads
        config = replace(RECIPES[recipe], processes=processes(), compile=compile, threads=cpus, **given)
    with gathered(open_device(config.device, local_rank())) as team:
        screen = console(quiet=not team.leads, stderr=as_json)
        try:
            with ExitStack() as stack:
                events = None
                if tensorboard and team.leads:
                    events = stack.enter_context(EventReporter(run.folder))
                _train(run, config, DataSet(data, cache_dir), screen, team, events, is_new=resume is None)
        except Interrupted as stopped:
            if team.leads:
                raise
            context.exit(stopped.exit_code)
        if as_json and team.leads:
            echo_object({"run": str(run.folder)} | run.metrics()[-1])


def _train(  # noqa: PLR0913, PLR0917 - what the options have become
    run: Run,
    config: TrainConfig,
    source: DataSet,
    console: Console,
    team: Team,
    events: EventReporter | None,
    *,
    is_new: bool,
) -> None:
    """Begin a run, or go on with one, as one process of a team."""
    if not team.leads:
        team.wait()  # the leading process decodes the images, and keeps them
    images = source.split("train")
    if team.leads:
        team.wait()

    def ask(config: TrainConfig, images: Split) -> TeacherAnswers:
        return _ask_teacher(config, images, source.cache_dir, console)

    shared = f", {team.size} processes" if team.size > 1 else ""
    console.print(
        f"{config.network}, seed {config.seed}: {len(images):,} images, {run.folder}{shared}", soft_wrap=True
    )
    with ProgressReporter(console, config.epochs) as progress:
        reporter = progress if events is None else Both(progress, events)
        if is_new:
            fit_network(run, config, images, reporter, ask, team)
        else:
            resume_run(run, images, reporter, ask, team)
    console.print(f"finished: {run.folder}", soft_wrap=True)


def _refuse_settings(context: click.Context) -> None:
    """A resumed run keeps its settings: one given beside --resume would be ignored."""
    for name in (*DEFAULTS, "recipe"):
        if context.get_parameter_source(name) in _GIVEN:
            raise click.UsageError(
                f"--{name.replace('_', '-')} has no effect with --resume: a run keeps its settings"
            )


def _ask_teacher(config: TrainConfig, images: Split, cache_dir: Path, console: Console) -> TeacherAnswers:
    """Find what the teacher of a configuration says, with progress."""
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
        return teacher_answers(
            open_teacher,
            identity,
            images,
            cache_dir,
            lambda done, of: progress.update(task, completed=done, total=of),
        )


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
