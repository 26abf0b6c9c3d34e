"""The training loop: a configuration and a training split become a checkpoint.

A run that was stopped anywhere continues to the same weights. Of several processes one writes, validates
and reports. Knows nothing of the test split or of ONNX.
"""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from torch import nn

from training.data.dataset import Split, hold_out
from training.errors import CheckpointError, Interrupted, TrainingError
from training.evaluation.metrics import evaluate, torch_predictor
from training.learning.data_parallel import Team, local_rank
from training.learning.devices import open_device
from training.learning.learner import Learner, load_weights, network_for_training
from training.learning.run import Checkpoint, Run
from training.provenance import library_versions, machine, source_commit

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from training.learning.config import TrainConfig
    from training.learning.teacher import TeacherAnswers
    from training.networks import Network
    from training.networks.network import Trainable


class Reporter(Protocol):
    """Is told how a run goes."""

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Take note of a finished step and the mean loss of its epoch so far."""

    def on_epoch(self, row: dict[str, Any]) -> None:
        """Take note of a finished epoch's metrics."""


AskTeacher = Callable[["TrainConfig", Split], "TeacherAnswers"]
"""Finds what the teacher of a configuration says of the images that are learned from."""


def fit(  # noqa: PLR0913, PLR0917 - what a run is made of
    run: Run,
    config: TrainConfig,
    train: Split,
    reporter: Reporter,
    ask_teacher: AskTeacher | None = None,
    team: Team | None = None,
) -> Checkpoint:
    """Train from the beginning.

    Args:
        run: where config, metrics and checkpoints go; must not hold a run yet.
        config: what to do.
        train: the training split; validation images are held out of it.
        reporter: is told each step and epoch, in the leading process.
        ask_teacher: is asked once in each process, the leading one first, if there is to be a teacher.
        team: the processes of the run, each of which calls this; None is this one alone.

    Returns:
        The finished checkpoint, already saved.

    Raises:
        Interrupted: Ctrl-C or SIGTERM came, to any process; the state is saved.
        TrainingError: the split is too small, the device is not there, the folder cannot be written, the loss
            is not finite, or another process is gone.
    """
    team = team or Team()
    trainer = _Trainer(config, train, ask_teacher, team)
    with _held(run, team):
        if team.leads:
            run.begin(config)
        team.wait()
        return trainer.run(run, reporter)


def resume(
    run: Run,
    train: Split,
    reporter: Reporter,
    ask_teacher: AskTeacher | None = None,
    team: Team | None = None,
) -> Checkpoint:
    """Continue a stopped run; arguments, result and errors as ``fit``.

    Raises CheckpointError too: there is no run, it is damaged, or it was begun on other images, with another
    teacher or by another number of processes.
    """
    team = team or Team()
    with _held(run, team):
        checkpoint = run.load()
        if checkpoint.is_finished:
            return checkpoint
        run.metrics()  # a damaged file is found before an epoch is spent
        trainer = _Trainer(checkpoint.config, train, ask_teacher, team)
        trainer.restore(checkpoint)
        team.wait()  # nobody reads any more what the leading process will write
        return trainer.run(run, reporter)


def trained_network(checkpoint: Checkpoint) -> Network:
    """Return the averaged network of a checkpoint, folded to the plain architecture.

    Raises:
        CheckpointError: the checkpoint is of an unknown network or of other weights.
    """
    network = network_for_training(checkpoint.config, (0.0,) * 3, (1.0,) * 3)
    load_weights(network, checkpoint.average, checkpoint.config.network)
    return network.fold()


class _Trainer:
    """Where a run is, and how it goes on."""

    def __init__(self, config: TrainConfig, train: Split, ask_teacher: AskTeacher | None, team: Team) -> None:
        if config.processes != team.size:
            raise CheckpointError(
                f"the run is one of {config.processes} processes, and {team.size} are here: sums would round "
                f"differently; start it with torchrun --nproc-per-node {config.processes} -m training fit ..."
            )
        self._config, self._team = config, team
        self._device = open_device(config.device, local_rank())
        images, self._validation = hold_out(train, config.validation_per_class)
        if len(images) < config.batch_size:
            raise TrainingError(
                f"{len(images)} images are left to train on, fewer than one batch of "
                f"{config.batch_size}; lower --batch-size or --validation-per-class"
            )
        teacher = _asked(ask_teacher, config, images, team) if config.teacher else None
        self._learner = Learner(config, images, teacher, team, self._device)
        self._steps = self._learner.steps
        self._epoch = self._step = 0
        self._loss_sum = 0.0
        self._provenance = {
            "commit": source_commit(),
            "machine": machine(),
            "data_sha256": train.digest(),
            **library_versions("torch", "numpy", "pillow"),
        }
        if teacher is not None:
            self._provenance["teacher_sha256"] = teacher.identity

    def restore(self, checkpoint: Checkpoint) -> None:
        begun_on, given = (each.get("data_sha256") for each in (checkpoint.provenance, self._provenance))
        if begun_on not in {None, given}:
            raise CheckpointError(
                "the run was begun on other training images than these; give it the --data it was begun with"
            )
        begun_with, given = (each.get("teacher_sha256") for each in (checkpoint.provenance, self._provenance))
        if begun_with not in {None, given}:
            raise CheckpointError(
                f"the run was begun with another teacher than {self._config.teacher} is now; put back the "
                f"one whose SHA-256 is {begun_with}"
            )
        self._learner.restore(checkpoint)
        self._epoch, self._step = checkpoint.epoch, checkpoint.step
        self._loss_sum = checkpoint.loss_sum
        self._provenance = checkpoint.provenance

    def run(self, run: Run, reporter: Reporter) -> Checkpoint:
        with _stop_requests() as stop:
            while self._epoch < self._config.epochs:
                loss, timing = self._finish_epoch(run, reporter, stop)
                self._learner.check_agreement()
                if self._team.leads:
                    network = self._averaged()
                    rate = {"learning_rate": self._learner.learning_rate}
                    row = {"epoch": self._epoch, "loss": loss, **self._validate(network), **rate, **timing}
                    run.record(row)
                    filters = _first_filters(network.fold())
                    if filters is not None:
                        run.keep_filters(self._epoch, filters)
                    run.save(self._checkpoint())
                    reporter.on_epoch(row)
                if self._team.any(bool(stop)) and self._epoch < self._config.epochs:
                    raise Interrupted(run.folder, self._epoch, self._step)
        return self._checkpoint()

    def _finish_epoch(self, run: Run, reporter: Reporter, stop: list[int]) -> tuple[float, dict[str, float]]:
        """Do what is left of the epoch, stopping between steps when asked; returns its loss and speed."""
        started, first = time.monotonic(), self._step
        order = self._learner.order(self._epoch)
        while self._step < self._steps:
            start = self._step * self._config.batch_size
            indices = order[start : start + self._config.batch_size]
            self._loss_sum += self._learner.learn(indices, self._epoch, self._step)
            self._step += 1
            if self._team.leads:
                reporter.on_step(self._epoch, self._step, self._steps, self._loss_sum / self._step)
            if self._team.any(bool(stop)) and self._step < self._steps:
                if self._team.leads:
                    run.save(self._checkpoint())
                self._team.wait()  # who leaves before the others can have them ended
                raise Interrupted(run.folder, self._epoch, self._step)
        seconds = time.monotonic() - started
        loss = self._loss_sum / self._steps
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} in epoch {self._epoch + 1}; lower --peak-learning-rate"
            )
        images = (self._steps - first) * self._config.batch_size
        self._epoch, self._step, self._loss_sum = self._epoch + 1, 0, 0.0
        return loss, {"seconds": seconds, "images_per_s": images / seconds}

    def _averaged(self) -> Trainable:
        """Make the network of the averaged weights, the ones that will be exported."""
        network = network_for_training(self._config, (0.0,) * 3, (1.0,) * 3).to(self._device)
        network.load_state_dict(self._learner.average)
        return network

    def _validate(self, network: Trainable) -> dict[str, float]:
        result = evaluate(torch_predictor(network), self._validation)
        return {
            "validation_loss": result.loss,
            "validation_top1": result.top1,
            "validation_top3": result.top3,
        }

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            config=self._config,
            epoch=self._epoch,
            step=self._step,
            loss_sum=self._loss_sum,
            provenance=self._provenance,
            **self._learner.state(),
        )


def _first_filters(network: Network) -> npt.NDArray[np.float32] | None:
    """Return the weights of the convolution that sees the pixels; None if the network has none."""
    first = next((layer for layer in network.modules() if isinstance(layer, nn.Conv2d)), None)
    return None if first is None else first.weight.detach().float().cpu().numpy()


@contextlib.contextmanager
def _held(run: Run, team: Team) -> Iterator[None]:
    """Keep other runs out of the folder; one process does so for its team."""
    if not team.leads:
        yield
        return
    with run.locked():
        yield


def _asked(ask_teacher: AskTeacher | None, config: TrainConfig, images: Split, team: Team) -> TeacherAnswers:
    if ask_teacher is None:
        raise TrainingError(
            f"the run learns from the teacher {config.teacher}, and there is nobody to ask it"
        )
    if team.leads:
        answers = ask_teacher(config, images)
        team.wait()
        return answers
    team.wait()  # the leading process has asked, and kept the answers
    return ask_teacher(config, images)


@contextlib.contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list; a second one acts as usual."""
    received: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, _frame: object) -> None:
        received.append(number)
        signal.signal(number, before[number])

    signals: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        before[number] = signal.getsignal(number)
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
