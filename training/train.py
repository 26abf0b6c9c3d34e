"""The training loop: a configuration and a training split become a checkpoint.

Every random choice is drawn from the seed, the epoch and the step, and the learning rate is a function
of the step, so a run that was stopped anywhere continues to the same weights. Knows nothing of the
test split or of ONNX.
"""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from training.augment import alternating, choose_views, look
from training.dataset import Split, hold_out
from training.errors import CheckpointError, Interrupted, TrainingError
from training.evaluate import evaluate, torch_predictor
from training.networks import NETWORKS
from training.optimise import Optimisers
from training.provenance import library_versions, machine, source_commit
from training.run import Checkpoint, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from training.config import TrainConfig
    from training.networks import Network, Trainable
    from training.teacher import TeacherAnswers

_MIRRORS = 1  # tells the generator of the first mirrorings from those of orders and shifts


class Reporter(Protocol):
    """Is told how a run goes."""

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Take note of a finished step and the mean loss of its epoch so far."""

    def on_epoch(self, row: dict[str, Any]) -> None:
        """Take note of a finished epoch's metrics."""


AskTeacher = Callable[["TrainConfig", Split], "TeacherAnswers"]
"""Finds what the teacher of a configuration says of the images that are learned from."""


def fit(
    run: Run, config: TrainConfig, train: Split, reporter: Reporter, ask_teacher: AskTeacher | None = None
) -> Checkpoint:
    """Train from the beginning.

    Args:
        run: where config, metrics and checkpoints go; must not hold a run yet.
        config: what to do.
        train: the training split; validation images are held out of it.
        reporter: is told each step and epoch.
        ask_teacher: is asked once, if the configuration names a teacher.

    Returns:
        The finished checkpoint, already saved.

    Raises:
        Interrupted: Ctrl-C or SIGTERM came; the state is saved.
        TrainingError: the split is too small, the folder cannot be written, or the loss is not
            finite.
    """
    trainer = _Trainer(config, train, ask_teacher)
    with run.locked():
        run.begin(config)
        return trainer.run(run, reporter)


def resume(run: Run, train: Split, reporter: Reporter, ask_teacher: AskTeacher | None = None) -> Checkpoint:
    """Continue a stopped run; arguments, result and errors as ``fit``.

    Raises CheckpointError too: there is no run, it is damaged, or it was begun on other images.
    """
    with run.locked():
        checkpoint = run.load()
        if checkpoint.is_finished:
            return checkpoint
        run.metrics()  # a damaged file is found before an epoch is spent
        trainer = _Trainer(checkpoint.config, train, ask_teacher)
        trainer.restore(checkpoint)
        return trainer.run(run, reporter)


def trained_network(checkpoint: Checkpoint) -> Network:
    """Return the averaged network of a checkpoint, folded to the plain architecture.

    Raises:
        CheckpointError: the checkpoint is of an unknown network or of other weights.
    """
    network = _network_for_training(checkpoint.config, (0.0,) * 3, (1.0,) * 3)
    _load(network, checkpoint.average, checkpoint.config.network)
    return network.fold()


def distillation_loss(logits: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """How far a student is from its teacher: T^2 KL(teacher || student), both softened by T.

    Hinton et al. 2015 (arXiv:1503.02531); T^2 keeps the gradients as large as those of the labels.

    Args:
        logits: the student's, (n, 10).
        teacher: the teacher's, (n, 10).
        temperature: T.

    Returns:
        The mean over the images, in nats.
    """
    return temperature**2 * functional.kl_div(
        functional.log_softmax(logits / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
        log_target=True,
        reduction="batchmean",
    )


class _Trainer:
    """The state of one run and how a step changes it."""

    def __init__(self, config: TrainConfig, train: Split, ask_teacher: AskTeacher | None) -> None:
        self._config = config
        self._train, self._validation = hold_out(train, config.validation_per_class)
        self._steps = len(self._train) // config.batch_size
        if self._steps == 0:
            raise TrainingError(
                f"{len(self._train)} images are left to train on, fewer than one batch of "
                f"{config.batch_size}; lower --batch-size or --validation-per-class"
            )
        self._first_mirrored = alternating(
            len(self._train), np.random.default_rng([config.seed, 0, 0, _MIRRORS])
        )
        self._teacher = None if not config.teacher else _asked(ask_teacher, config, self._train)
        torch.set_num_threads(config.threads)
        torch.use_deterministic_algorithms(mode=True)
        # Nothing here reads memory that was not written, and filling it takes 7% of the time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.manual_seed(config.seed)
        self._network = _network_for_training(config, *_channel_statistics(self._train.images))
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._average = _clone(self._network.state_dict())
        self._optimisers = Optimisers(self._network, config)
        self._epoch = self._step = 0
        self._loss_sum = 0.0
        self._provenance = {
            "commit": source_commit(),
            "machine": machine(),
            "data_sha256": train.digest(),
            **library_versions("torch", "numpy", "pillow"),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        begun_on, given = (each.get("data_sha256") for each in (checkpoint.provenance, self._provenance))
        if begun_on not in {None, given}:
            raise CheckpointError(
                "the run was begun on other training images than these; give it the --data it was begun with"
            )
        _load(self._network, checkpoint.model, checkpoint.config.network)
        self._average = _clone(checkpoint.average)
        self._optimisers.restore(checkpoint.optimizer)
        self._epoch, self._step = checkpoint.epoch, checkpoint.step
        self._loss_sum = checkpoint.loss_sum
        self._provenance = checkpoint.provenance

    def run(self, run: Run, reporter: Reporter) -> Checkpoint:
        with _stop_requests() as stop:
            while self._epoch < self._config.epochs:
                row = self._finish_epoch(run, reporter, stop)
                run.record(row)
                run.save(self._checkpoint())
                reporter.on_epoch(row)
                if stop and self._epoch < self._config.epochs:
                    raise Interrupted(run.folder, self._epoch, self._step)
        return self._checkpoint()

    def _finish_epoch(self, run: Run, reporter: Reporter, stop: list[int]) -> dict[str, Any]:
        """Do what is left of the epoch, stopping between steps when asked."""
        started, first = time.monotonic(), self._step
        order = np.random.default_rng([self._config.seed, self._epoch]).permutation(len(self._train))
        self._network.train()
        while self._step < self._steps:
            start = self._step * self._config.batch_size
            self._loss_sum += self._take_step(order[start : start + self._config.batch_size])
            self._step += 1
            reporter.on_step(self._epoch, self._step, self._steps, self._loss_sum / self._step)
            if stop and self._step < self._steps:
                run.save(self._checkpoint())
                raise Interrupted(run.folder, self._epoch, self._step)
        seconds = time.monotonic() - started
        loss = self._loss_sum / self._steps
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} in epoch {self._epoch + 1}; lower --peak-learning-rate"
            )
        images = (self._steps - first) * self._config.batch_size
        self._epoch, self._step, self._loss_sum = self._epoch + 1, 0, 0.0
        return {
            "epoch": self._epoch,
            "loss": loss,
            **self._validate(),
            "seconds": seconds,
            "images_per_s": images / seconds,
        }

    def _take_step(self, indices: npt.NDArray[np.int64]) -> float:
        """Learn from some of the images; returns their mean loss in nats."""
        config = self._config
        batch = self._train[indices]
        generator = np.random.default_rng([config.seed, self._epoch, self._step])
        mirrored = None
        if config.flips == "alternating":
            mirrored = self._first_mirrored[indices] ^ bool(self._epoch % 2)
        views = choose_views(len(batch), generator, config.shift_px, mirrored)
        images = torch.from_numpy(look(batch.images, views, config.shift_px))
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits = self._network(images)
        loss = functional.cross_entropy(logits.float(), torch.from_numpy(batch.labels))
        if self._teacher is not None:
            said = torch.from_numpy(self._teacher.of(indices, views.mirrored))
            share = config.teacher_share
            loss = (
                share * distillation_loss(logits.float(), said, config.teacher_temperature)
                + (1 - share) * loss
            )
        loss.backward()  # type: ignore[no-untyped-call]
        done = self._epoch * self._steps + self._step
        self._optimisers.step(done / (config.epochs * self._steps))
        _blend(self._average, self._network.state_dict(), min(config.average_decay, _young(done)))
        return loss.item()

    def _validate(self) -> dict[str, float]:
        """Measure the averaged weights, the ones that will be exported."""
        network = _network_for_training(self._config, (0.0,) * 3, (1.0,) * 3)
        network.load_state_dict(self._average)
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
            model=self._network.state_dict(),
            average=self._average,
            optimizer=self._optimisers.state(),
            provenance=self._provenance,
        )


def _asked(ask_teacher: AskTeacher | None, config: TrainConfig, images: Split) -> TeacherAnswers:
    if ask_teacher is None:
        raise TrainingError(
            f"the run learns from the teacher {config.teacher}, and there is nobody to ask it"
        )
    return ask_teacher(config, images)


def _network_for_training(config: TrainConfig, mean: tuple[float, ...], std: tuple[float, ...]) -> Trainable:
    if config.network not in NETWORKS:
        raise CheckpointError(f"no network is called {config.network!r}; there are: {', '.join(NETWORKS)}")
    return NETWORKS[config.network].for_training(mean, std, config.kernels)


def _channel_statistics(
    images: npt.NDArray[np.uint8],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of pixels divided by 255."""
    pixels = images.reshape(-1, images.shape[-1])
    mean = pixels.mean(axis=0, dtype=np.float64) / 255
    deviation = pixels.std(axis=0, dtype=np.float64) / 255
    return tuple(mean.tolist()), tuple(np.maximum(deviation, 1 / 255).tolist())


def _load(network: nn.Module, state: dict[str, Any], name: str) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"the checkpoint holds the weights of another network than {name}: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error


def _young(step: int) -> float:
    """Decay of an average that is still young, so that the random start is forgotten soon."""
    return (1 + step) / (10 + step)


def _clone(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value.clone() for name, value in state.items()}


def _blend(average: dict[str, Any], state: dict[str, Any], decay: float) -> None:
    """Move ``average`` towards ``state``; counters are copied."""
    for name, value in state.items():
        if value.dtype.is_floating_point:
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)


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
