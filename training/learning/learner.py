"""A network that learns, step by step: the state of a run, and how a batch changes it.

In: a configuration, the images to learn from, and which of them are next. Out: losses and weights. Every
choice is drawn from the seed, the epoch and the step. Knows nothing of files, signals or validation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from training.data.augment import alternating, choose_hidden, choose_patches, choose_views, look, paste
from training.errors import CheckpointError
from training.learning.distillation import distillation_loss, mixed, mixed_logits
from training.learning.malloc import keep_freed_memory
from training.learning.optimizers import Optimisers
from training.learning.sync_batchnorm import synchronise
from training.networks import NETWORKS
from training.networks.network import CLASSES

if TYPE_CHECKING:
    import numpy.typing as npt

    from training.data.augment import Views
    from training.data.dataset import Split
    from training.learning.config import TrainConfig
    from training.learning.data_parallel import Team
    from training.learning.run import Checkpoint
    from training.learning.teacher import TeacherAnswers
    from training.networks import Trainable

_MIRRORS = 1  # tells the generator of the first mirrorings from those of orders and shifts


class Learner:
    """A network, its optimisers and averaged weights, in one process of a team.

    Each process goes through every batch, chooses the same views of it, and learns from its share; gradients
    and losses are added up, so that all come to the same weights, those of a process that is alone.
    """

    def __init__(
        self,
        config: TrainConfig,
        images: Split,
        teacher: TeacherAnswers | None,
        team: Team,
        device: torch.device,
    ) -> None:
        """Begin with random weights.

        Args:
            config: what to do.
            images: what to learn from; they are moved to the device at once, one byte a value.
            teacher: what a bigger network says of them, if it is to be learned from.
            team: the processes.
            device: where this one computes.
        """
        self._config, self._team, self._device = config, team, device
        self._teacher = teacher
        torch.set_num_threads(config.threads)
        if device.type == "cpu":
            keep_freed_memory()
        # Maximum pooling has no backward on GPUs that adds up in a fixed order.
        torch.use_deterministic_algorithms(mode=device.type == "cpu")
        # Nothing here reads memory that was not written, and filling it takes 7% of the time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.manual_seed(config.seed)
        self._first_mirrored = alternating(len(images), np.random.default_rng([config.seed, 0, 0, _MIRRORS]))
        self._images = torch.from_numpy(np.ascontiguousarray(images.images)).to(device)
        self._labels = torch.from_numpy(images.labels).to(device)
        mean, deviation = _channel_statistics(images.images)
        self._mean_colour = (torch.tensor(mean) * 255).round().to(device, torch.uint8)
        self._network = network_for_training(config, mean, deviation)
        if team.size > 1:
            synchronise(self._network, team)
        self._network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._forward = torch.compile(self._network) if config.compile else self._network
        self._learned = [value for value in self._network.parameters() if value.requires_grad]
        self._average = _clone(self._network.state_dict())
        self._optimisers = Optimisers(self._network, config)
        self.steps = len(images) // config.batch_size
        """Of an epoch."""

    @property
    def average(self) -> dict[str, Any]:
        """The averaged weights, the ones that are validated and exported."""
        return self._average

    @property
    def learning_rate(self) -> float:
        """Of the last step."""
        return self._optimisers.learning_rate

    def state(self) -> dict[str, Any]:
        """Return what ``restore`` needs, by the names that a Checkpoint has for it."""
        return {
            "model": self._network.state_dict(),
            "average": self._average,
            "optimizer": self._optimisers.state(),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint. Raises CheckpointError if it is of another network."""
        load_weights(self._network, checkpoint.model, checkpoint.config.network)
        self._average = {
            name: value.to(self._device, copy=True) for name, value in checkpoint.average.items()
        }
        self._optimisers.restore(checkpoint.optimizer)

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the indices of all images, in the order in which an epoch looks at them."""
        return np.random.default_rng([self._config.seed, epoch]).permutation(len(self._labels))

    def learn(self, indices: npt.NDArray[np.int64], epoch: int, step: int) -> float:
        """Learn from a batch, of which this process takes its share.

        Args:
            indices: of the batch's images, those of all processes.
            epoch: epochs that are complete.
            step: steps of this epoch that are complete.

        Returns:
            The batch's mean loss in nats, the same in every process.

        Raises:
            TeamError: another process is gone.
        """
        self._network.train()
        images, labels, said = self.batch(indices, epoch, step)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._config.precision == "bfloat16"):
            logits = self._forward(images)
        # All shares are weighed by their size: the sum over the team is the mean over the batch.
        loss = self._loss(logits.float(), labels, said) * (len(labels) / len(indices))
        loss.backward()  # type: ignore[no-untyped-call]
        mean = self._add_up(loss)
        done = epoch * self.steps + step
        self._optimisers.step(done / (self._config.epochs * self.steps))
        _blend(self._average, self._network.state_dict(), min(self._config.average_decay, _young(done)))
        return mean

    def batch(
        self, indices: npt.NDArray[np.int64], epoch: int, step: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Prepare this process's share of a batch; arguments as of ``learn``.

        Returns:
            Images uint8 (n, 32, 32, 3); labels int64 (n,), or each class's share (n, 10) where images are
            mixed; and a teacher's logits (n, 10) if there is one.
        """
        share = self._team.share(len(indices))
        generator = np.random.default_rng([self._config.seed, epoch, step])
        views = self._views(indices, epoch, generator)
        images, labels, said = self._seen(indices[share], views[share])
        if not self._config.mix_share:
            return images, labels, said
        _, height, width, _ = images.shape
        patches = choose_patches(len(indices), generator, self._config.mix_share, height, width)
        lenders = patches.lender[share]
        lent, their_labels, their_said = self._seen(indices[lenders], views[lenders])
        own = torch.from_numpy(patches[share].own).to(self._device)
        images = paste(images, lent, patches[share].covered)
        sure, their_sure = (functional.one_hot(each, CLASSES).float() for each in (labels, their_labels))
        if said is not None and their_said is not None:
            said = mixed_logits(said, their_said, own, self._config.teacher_temperature)
        return images, mixed(sure, their_sure, own), said

    def check_agreement(self) -> None:
        """Make sure that all processes have the same weights. Raises TeamError."""
        for state in (self._network.state_dict(), self._average):
            self._team.compare(torch.cat([value.flatten().float() for value in state.values()]))

    def _seen(
        self, indices: npt.NDArray[np.int64], views: Views
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return images as they are looked at, their labels, and what a teacher says of them."""
        said = None
        if self._teacher is not None:
            said = torch.from_numpy(self._teacher.of(indices, views.mirrored)).to(self._device)
        where = torch.from_numpy(indices).to(self._device)
        images = look(self._images, indices, views, self._mean_colour)
        return images, self._labels.index_select(0, where), said

    def _views(self, indices: npt.NDArray[np.int64], epoch: int, generator: np.random.Generator) -> Views:
        """Choose views of a whole batch, so that they do not depend on how many processes share it."""
        mirrored = None
        if self._config.flips == "alternating":
            mirrored = self._first_mirrored[indices] ^ bool(epoch % 2)
        views = choose_views(len(indices), generator, self._config.shift_px, mirrored)
        if not self._config.hide_px:
            return views
        _, height, width, _ = self._images.shape
        hidden = choose_hidden(len(indices), generator, self._config.hide_px, height, width)
        return replace(views, hidden=hidden)

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor, said: torch.Tensor | None) -> torch.Tensor:
        loss = functional.cross_entropy(logits, labels)
        if said is None:
            return loss
        share = self._config.teacher_share
        distilled = distillation_loss(logits, said, self._config.teacher_temperature)
        return share * distilled + (1 - share) * loss

    def _add_up(self, loss: torch.Tensor) -> float:
        """Give every process the gradients of the whole batch, in one exchange; returns its loss."""
        if self._team.size == 1:
            return float(loss.detach())
        gradients = [value.grad for value in self._learned if value.grad is not None]
        everything = torch.cat([*(each.flatten() for each in gradients), loss.detach().view(1)])
        self._team.add(everything)
        parts = torch.split(everything[:-1], [each.numel() for each in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))
        return float(everything[-1])


def network_for_training(config: TrainConfig, mean: tuple[float, ...], std: tuple[float, ...]) -> Trainable:
    """Make the network of a configuration in the form that learns. Raises CheckpointError if unknown."""
    if config.network not in NETWORKS:
        raise CheckpointError(f"no network is called {config.network!r}; there are: {', '.join(NETWORKS)}")
    return NETWORKS[config.network].for_training(mean, std, config.kernels)


def load_weights(network: nn.Module, state: dict[str, Any], name: str) -> None:
    """Put weights into a network called ``name``. Raises CheckpointError if they are of another."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"the checkpoint holds the weights of another network than {name}: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error


def _channel_statistics(
    images: npt.NDArray[np.uint8],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of pixels divided by 255."""
    pixels = images.reshape(-1, images.shape[-1])
    mean = pixels.mean(axis=0, dtype=np.float64) / 255
    deviation = pixels.std(axis=0, dtype=np.float64) / 255
    return tuple(mean.tolist()), tuple(np.maximum(deviation, 1 / 255).tolist())


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
