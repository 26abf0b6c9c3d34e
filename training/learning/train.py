"""The training loop: epochs, validation, checkpoints, and resuming to the same weights.

Of several processes, the leader validates, reports and writes files.
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
from training.learning.data_parallel import ProcessGroup, local_rank
from training.learning.devices import open_device
from training.learning.learner import Learner, load_weights, network_for_training
from training.learning.run import Checkpoint, Run
from training.provenance import library_versions, machine, source_commit

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from training.learning.config import TrainConfig
    from training.learning.teacher import TeacherLogits
    from training.networks import Network
    from training.networks.network import Trainable


class Reporter(Protocol):
    """Receives the progress of a run."""

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Report a finished step, and the mean loss of its epoch so far."""

    def on_epoch(self, row: dict[str, Any]) -> None:
        """Report the metrics of a finished epoch."""


LoadTeacher = Callable[["TrainConfig", Split], "TeacherLogits"]
"""Computes or loads the logits of a configuration's teacher for the training images."""


def fit(  # noqa: PLR0913, PLR0917 - the parts of a run
    run: Run,
    config: TrainConfig,
    train: Split,
    reporter: Reporter,
    load_teacher: LoadTeacher | None = None,
    group: ProcessGroup | None = None,
) -> Checkpoint:
    """Start a new run.

    Args:
        run: destination of settings, metrics and checkpoints; must not hold a run yet.
        config: the hyperparameters.
        train: the training split; validation images are held out of it.
        reporter: receives each step and epoch, in the leader.
        load_teacher: called once in each process, first in the leader, if the configuration has a teacher.
        group: the processes of the run, each of which calls this; None is this one alone.

    Returns:
        The finished checkpoint, already saved.

    Raises:
        Interrupted: any process received Ctrl-C or SIGTERM; the state is saved.
        TrainingError: the split is too small, the device is not available, the folder cannot be written, the
            loss is not finite, or another process is gone.
    """
    group = group or ProcessGroup()
    trainer = _Trainer(config, train, load_teacher, group)
    with _locked(run, group):
        if group.is_leader:
            run.begin(config)
        group.barrier()
        return trainer.run(run, reporter)


def resume(
    run: Run,
    train: Split,
    reporter: Reporter,
    load_teacher: LoadTeacher | None = None,
    group: ProcessGroup | None = None,
) -> Checkpoint:
    """Continue a stopped run. Arguments, result and errors are those of ``fit``.

    Raises:
        CheckpointError: there is no run, it is damaged, or it was started on other images, with another
            teacher or by another number of processes.
    """
    group = group or ProcessGroup()
    with _locked(run, group):
        checkpoint = run.load()
        if checkpoint.is_finished:
            return checkpoint
        run.metrics()  # fails on a damaged file before an epoch is spent
        trainer = _Trainer(checkpoint.config, train, load_teacher, group)
        trainer.restore(checkpoint)
        group.barrier()  # every process has read what the leader will replace
        return trainer.run(run, reporter)


def trained_network(checkpoint: Checkpoint) -> Network:
    """Return the network of a checkpoint with the averaged weights, folded to the plain architecture.

    Raises:
        CheckpointError: the checkpoint holds weights of another network.
    """
    network = network_for_training(checkpoint.config)
    load_weights(network, checkpoint.average, checkpoint.config.network)
    return network.fold()


class _Trainer:
    """Runs the epochs of one run, from the start or from a checkpoint."""

    def __init__(
        self, config: TrainConfig, train: Split, load_teacher: LoadTeacher | None, group: ProcessGroup
    ) -> None:
        if config.processes != group.size:
            raise CheckpointError(
                f"the run needs {config.processes} processes, {group.size} were started: sums would round "
                f"differently; start it with torchrun --nproc-per-node {config.processes} -m training fit ..."
            )
        self._config, self._group = config, group
        self._device = open_device(config.device, local_rank())
        images, self._validation = hold_out(train, config.validation_per_class)
        if len(images) < config.batch_size:
            raise TrainingError(
                f"{len(images)} images are left to train on, fewer than a batch of "
                f"{config.batch_size}; lower --batch-size or --validation-per-class"
            )
        teacher = _load_teacher(load_teacher, config, images, group) if config.teacher else None
        self._learner = Learner(config, images, teacher, group, self._device)
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
        started_with, given = checkpoint.provenance, self._provenance
        if started_with.get("data_sha256") not in {None, given["data_sha256"]}:
            raise CheckpointError(
                "the run was started on other training images; give it the --data it was started with"
            )
        teacher = started_with.get("teacher_sha256")
        if teacher not in {None, given.get("teacher_sha256")}:
            raise CheckpointError(
                f"the run was started with another teacher than {self._config.teacher} is now; restore the "
                f"one whose SHA-256 is {teacher}"
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
                if self._group.is_leader:
                    network = self._averaged()
                    rate = {"learning_rate": self._learner.learning_rate}
                    row = {"epoch": self._epoch, "loss": loss, **self._validate(network), **rate, **timing}
                    run.record(row)
                    filters = _first_filters(network.fold())
                    if filters is not None:
                        run.keep_filters(self._epoch, filters)
                    run.save(self._checkpoint())
                    reporter.on_epoch(row)
                if self._group.any(bool(stop)) and self._epoch < self._config.epochs:
                    raise Interrupted(run.folder, self._epoch, self._step)
        return self._checkpoint()

    def _finish_epoch(self, run: Run, reporter: Reporter, stop: list[int]) -> tuple[float, dict[str, float]]:
        """Do the remaining steps of the epoch, unless a stop is requested; return its loss and speed."""
        started, first = time.monotonic(), self._step
        order = self._learner.order(self._epoch)
        while self._step < self._steps:
            start = self._step * self._config.batch_size
            indices = order[start : start + self._config.batch_size]
            self._loss_sum += self._learner.learn(indices, self._epoch, self._step)
            self._step += 1
            if self._group.is_leader:
                reporter.on_step(self._epoch, self._step, self._steps, self._loss_sum / self._step)
            if self._group.any(bool(stop)) and self._step < self._steps:
                if self._group.is_leader:
                    run.save(self._checkpoint())
                self._group.barrier()  # torchrun may end the others when one exits
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
        """Make the network of the averaged weights, which are exported."""
        network = network_for_training(self._config).to(self._device)
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
    """Return the weights of the first convolution; None if the network has none."""
    first = next((layer for layer in network.modules() if isinstance(layer, nn.Conv2d)), None)
    return None if first is None else first.weight.detach().float().cpu().numpy()


@contextlib.contextmanager
def _locked(run: Run, group: ProcessGroup) -> Iterator[None]:
    """Lock the folder against other runs; the leader holds the lock for its group."""
    with run.locked() if group.is_leader else contextlib.nullcontext():
        yield


def _load_teacher(
    load: LoadTeacher | None, config: TrainConfig, images: Split, group: ProcessGroup
) -> TeacherLogits:
    if load is None:
        raise TrainingError(f"the run has the teacher {config.teacher}, and fit was given no way to load it")
    if not group.is_leader:
        group.barrier()  # the leader fills the cache first
    logits = load(config, images)
    if group.is_leader:
        group.barrier()
    return logits


@contextlib.contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list; a second one has its usual effect."""
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
