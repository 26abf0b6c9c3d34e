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
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from training.augment import flip_and_shift
from training.dataset import Split, hold_out
from training.errors import CheckpointError, Interrupted, TrainingError
from training.evaluate import evaluate, torch_predictor
from training.networks import NETWORKS, CIFAR10Net, CIFAR10NetTraining
from training.provenance import library_versions, machine, source_commit
from training.run import Checkpoint, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from training.config import TrainConfig

_LOWEST_RATE = 1 / 25  # of the peak, at the first step


class Reporter(Protocol):
    """Is told how a run goes."""

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Take note of a finished step and the mean loss of its epoch so far."""

    def on_epoch(self, row: dict[str, Any]) -> None:
        """Take note of a finished epoch's metrics."""


def fit(run: Run, config: TrainConfig, train: Split, reporter: Reporter) -> Checkpoint:
    """Train from the beginning.

    Args:
        run: where config, metrics and checkpoints go; must not hold a run yet.
        config: what to do.
        train: the training split; validation images are held out of it.
        reporter: is told each step and epoch.

    Returns:
        The finished checkpoint, already saved.

    Raises:
        Interrupted: Ctrl-C or SIGTERM came; the state is saved.
        TrainingError: the split is too small, the folder cannot be written, or the loss is not
            finite.
    """
    trainer = _Trainer(config, train)
    with run.locked():
        run.begin(config)
        return trainer.run(run, reporter)


def resume(run: Run, train: Split, reporter: Reporter) -> Checkpoint:
    """Continue a stopped run; arguments, result and errors as ``fit``.

    Raises CheckpointError too: there is no run, it is damaged, or it was begun on other images.
    """
    with run.locked():
        checkpoint = run.load()
        if checkpoint.is_finished:
            return checkpoint
        run.metrics()  # a damaged file is found before an epoch is spent
        trainer = _Trainer(checkpoint.config, train)
        trainer.restore(checkpoint)
        return trainer.run(run, reporter)


def trained_network(checkpoint: Checkpoint) -> CIFAR10Net:
    """Return the averaged network of a checkpoint, folded to the plain architecture.

    Raises:
        CheckpointError: the checkpoint is of an unknown network or of other weights.
    """
    network = _network_for_training(checkpoint.config, (0.0,) * 3, (1.0,) * 3)
    _load(network, checkpoint.average, checkpoint.config.network)
    return network.fold()


def learning_rate(config: TrainConfig, progress: float) -> float:
    """One cycle (Smith 2018, arXiv:1803.09820), both halves cosine-shaped.

    Args:
        config: gives the peak and the share of steps before it.
        progress: share of all steps that is done, 0 to 1.
    """
    peak, warmup = config.peak_learning_rate, config.warmup_fraction
    if progress < warmup:
        rise = (1 - math.cos(math.pi * progress / warmup)) / 2
        return peak * (_LOWEST_RATE + (1 - _LOWEST_RATE) * rise)
    return peak * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2


class _Trainer:
    """The state of one run and how a step changes it."""

    def __init__(self, config: TrainConfig, train: Split) -> None:
        self._config = config
        self._train, self._validation = hold_out(train, config.validation_per_class)
        self._steps = len(self._train) // config.batch_size
        if self._steps == 0:
            raise TrainingError(
                f"{len(self._train)} images are left to train on, fewer than one batch of "
                f"{config.batch_size}; lower --batch-size or --validation-per-class"
            )
        torch.set_num_threads(config.threads)
        torch.use_deterministic_algorithms(mode=True)
        torch.manual_seed(config.seed)
        self._network = _network_for_training(config, *_channel_statistics(self._train.images))
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._average = _clone(self._network.state_dict())
        self._optimizer = _optimizer(self._network, config)
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
        try:
            self._optimizer.load_state_dict(checkpoint.optimizer)
        except (ValueError, KeyError) as error:
            raise CheckpointError(f"the checkpoint's optimizer does not fit: {error}") from error
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
            self._loss_sum += self._take_step(self._train[order[start : start + self._config.batch_size]])
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

    def _take_step(self, batch: Split) -> float:
        """Learn from one batch; returns its mean loss in nats."""
        config = self._config
        generator = np.random.default_rng([config.seed, self._epoch, self._step])
        images = flip_and_shift(batch.images, generator, config.shift_px)
        done = self._epoch * self._steps + self._step
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(config, done / (config.epochs * self._steps))
        loss = functional.cross_entropy(
            self._network(torch.from_numpy(images)), torch.from_numpy(batch.labels)
        )
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        decay = min(config.average_decay, _young(done))
        _blend(self._average, self._network.state_dict(), decay)
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
            optimizer=self._optimizer.state_dict(),
            provenance=self._provenance,
        )


def _network_for_training(
    config: TrainConfig, mean: tuple[float, ...], std: tuple[float, ...]
) -> CIFAR10NetTraining:
    if config.network not in NETWORKS:
        raise CheckpointError(f"no network is called {config.network!r}; there are: {', '.join(NETWORKS)}")
    return NETWORKS[config.network].for_training(mean, std)


def _channel_statistics(
    images: npt.NDArray[np.uint8],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of pixels divided by 255."""
    pixels = images.reshape(-1, images.shape[-1])
    mean = pixels.mean(axis=0, dtype=np.float64) / 255
    deviation = pixels.std(axis=0, dtype=np.float64) / 255
    return tuple(mean.tolist()), tuple(np.maximum(deviation, 1 / 255).tolist())


def _optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    """SGD with Nesterov momentum; weights decay, biases do not."""
    learned = [value for value in network.parameters() if value.requires_grad]
    groups = [
        {
            "params": [value for value in learned if value.ndim > 1],
            "weight_decay": config.weight_decay,
        },
        {"params": [value for value in learned if value.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        groups, lr=config.peak_learning_rate, momentum=config.momentum, nesterov=config.momentum > 0
    )


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
