"""Training steps: batches, augmentation, loss, gradients, averaged weights.

Every random choice depends only on the seed, the epoch and the step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from training.data.augment import (
    alternating_flips,
    apply_views,
    choose_cutmix,
    choose_cutout,
    choose_views,
    paste,
)
from training.errors import CheckpointError
from training.learning.distillation import distillation_loss, mix_logits, mix_targets
from training.learning.malloc import keep_freed_memory
from training.learning.optimizers import Optimizers
from training.learning.sync_batchnorm import synchronize_batchnorm
from training.networks import NETWORKS
from training.networks.network import CLASSES, ONE, ZERO

if TYPE_CHECKING:
    import numpy.typing as npt

    from training.data.augment import Views
    from training.data.dataset import Split
    from training.learning.config import TrainConfig
    from training.learning.data_parallel import ProcessGroup
    from training.learning.run import Checkpoint
    from training.learning.teacher import TeacherLogits
    from training.networks import Trainable

_MIRRORS = 1  # distinguishes this generator's seed from those of orders and shifts


class Learner:
    """A network with its optimizers and averaged weights, in one process of a group.

    Every process chooses the same views of the whole batch and computes its shard; the sum of gradients over
    the group gives all processes the same weights, those of a single process up to rounding. All images are
    moved to the device as uint8; a teacher's logits are those for these images.
    """

    def __init__(
        self,
        config: TrainConfig,
        images: Split,
        teacher: TeacherLogits | None,
        group: ProcessGroup,
        device: torch.device,
    ) -> None:
        self._config, self._group, self._device = config, group, device
        self._teacher = teacher
        torch.set_num_threads(config.threads)
        if device.type == "cpu":
            keep_freed_memory()
        # The backward of maximum pooling is not deterministic on GPUs.
        torch.use_deterministic_algorithms(mode=device.type == "cpu")
        # Filling memory takes 7% of the time, and nothing here reads uninitialised memory.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.manual_seed(config.seed)
        self._first_mirrored = alternating_flips(
            len(images), np.random.default_rng([config.seed, 0, 0, _MIRRORS])
        )
        self._images = torch.from_numpy(np.ascontiguousarray(images.images)).to(device)
        self._labels = torch.from_numpy(images.labels).to(device)
        mean, deviation = _channel_statistics(images.images)
        self._mean_colour = (torch.tensor(mean) * 255).round().to(device, torch.uint8)
        self._network = network_for_training(config, mean, deviation)
        if group.size > 1:
            synchronize_batchnorm(self._network, group)
        self._network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._forward = torch.compile(self._network) if config.compile else self._network
        self._learned = [value for value in self._network.parameters() if value.requires_grad]
        self._average = {name: value.clone() for name, value in self._network.state_dict().items()}
        self._optimizers = Optimizers(self._network, config)
        self.steps = len(images) // config.batch_size
        """Steps of an epoch."""

    @property
    def average(self) -> dict[str, Any]:
        """The averaged weights, which are validated and exported."""
        return self._average

    @property
    def learning_rate(self) -> float:
        """Learning rate of the last step."""
        return self._optimizers.learning_rate

    def state(self) -> dict[str, Any]:
        """Return the fields of a Checkpoint that ``restore`` reads."""
        return {
            "model": self._network.state_dict(),
            "average": self._average,
            "optimizer": self._optimizers.state(),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint. Raises CheckpointError if it is of another network."""
        load_weights(self._network, checkpoint.model, checkpoint.config.network)
        self._average = {
            name: value.to(self._device, copy=True) for name, value in checkpoint.average.items()
        }
        self._optimizers.restore(checkpoint.optimizer)

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the indices of all images in the order of an epoch."""
        return np.random.default_rng([self._config.seed, epoch]).permutation(len(self._labels))

    def learn(self, indices: npt.NDArray[np.int64], epoch: int, step: int) -> float:
        """Train on a batch, of which this process computes its shard.

        Args:
            indices: images of the whole batch.
            epoch: completed epochs.
            step: completed steps of this epoch.

        Returns:
            The batch's mean loss in nats, the same in every process.

        Raises:
            ProcessGroupError: another process is gone.
        """
        self._network.train()
        images, labels, teacher = self.batch(indices, epoch, step)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._config.precision == "bfloat16"):
            logits = self._forward(images)
        # Weighted by the size of the shard: the sum over the group is the mean over the batch.
        loss = self._loss(logits.float(), labels, teacher) * (len(labels) / len(indices))
        loss.backward()  # type: ignore[no-untyped-call]
        mean = self._all_reduce(loss)
        done = epoch * self.steps + step
        self._optimizers.step(done / (self._config.epochs * self.steps))
        _blend(self._average, self._network.state_dict(), min(self._config.average_decay, _early_decay(done)))
        return mean

    def batch(
        self, indices: npt.NDArray[np.int64], epoch: int, step: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Prepare this process's shard of a batch; arguments are those of ``learn``.

        Returns:
            Images uint8 (n, 32, 32, 3); labels int64 (n,), or class shares (n, 10) if images are mixed; and
            the teacher's logits (n, 10), if there is one.
        """
        shard = self._group.shard(len(indices))
        generator = np.random.default_rng([self._config.seed, epoch, step])
        views = self._views(indices, epoch, generator)
        images, labels, teacher = self._load(indices[shard], views[shard])
        if not self._config.mix_share:
            return images, labels, teacher
        _, height, width, _ = images.shape
        patches = choose_cutmix(len(indices), generator, self._config.mix_share, height, width)
        donors = patches.donor[shard]
        other_images, other_labels, other_teacher = self._load(indices[donors], views[donors])
        own = torch.from_numpy(patches[shard].own).to(self._device)
        images = paste(images, other_images, patches[shard].covered)
        one_hot, other_one_hot = (
            functional.one_hot(each, CLASSES).float() for each in (labels, other_labels)
        )
        if teacher is not None and other_teacher is not None:
            teacher = mix_logits(teacher, other_teacher, own, self._config.teacher_temperature)
        return images, mix_targets(one_hot, other_one_hot, own), teacher

    def check_agreement(self) -> None:
        """Check that all processes have the same weights. Raises ProcessGroupError."""
        for state in (self._network.state_dict(), self._average):
            self._group.check_equal(torch.cat([value.flatten().float() for value in state.values()]))

    def _load(
        self, indices: npt.NDArray[np.int64], views: Views
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return augmented images, their labels, and the teacher's logits."""
        teacher = None
        if self._teacher is not None:
            teacher = torch.from_numpy(self._teacher.of(indices, views.mirrored)).to(self._device)
        where = torch.from_numpy(indices).to(self._device)
        images = apply_views(self._images, indices, views, self._mean_colour)
        return images, self._labels.index_select(0, where), teacher

    def _views(self, indices: npt.NDArray[np.int64], epoch: int, generator: np.random.Generator) -> Views:
        """Choose views of a whole batch, so that they do not depend on the number of processes."""
        mirrored = None
        if self._config.flips == "alternating":
            mirrored = self._first_mirrored[indices] ^ bool(epoch % 2)
        views = choose_views(len(indices), generator, self._config.shift_px, mirrored)
        if not self._config.hide_px:
            return views
        _, height, width, _ = self._images.shape
        hidden = choose_cutout(len(indices), generator, self._config.hide_px, height, width)
        return replace(views, hidden=hidden)

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor, teacher: torch.Tensor | None) -> torch.Tensor:
        loss = functional.cross_entropy(logits, labels)
        if teacher is None:
            return loss
        share = self._config.teacher_share
        distilled = distillation_loss(logits, teacher, self._config.teacher_temperature)
        return share * distilled + (1 - share) * loss

    def _all_reduce(self, loss: torch.Tensor) -> float:
        """Sum gradients and loss over the group, in one reduction; return the loss."""
        if self._group.size == 1:
            return float(loss.detach())
        gradients = [value.grad for value in self._learned if value.grad is not None]
        everything = torch.cat([*(each.flatten() for each in gradients), loss.detach().view(1)])
        self._group.all_reduce(everything)
        parts = torch.split(everything[:-1], [each.numel() for each in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))
        return float(everything[-1])


def network_for_training(
    config: TrainConfig, mean: tuple[float, ...] = ZERO, std: tuple[float, ...] = ONE
) -> Trainable:
    """Make the training form of a configuration's network."""
    return NETWORKS[config.network].for_training(mean, std, config.kernels)


def load_weights(network: nn.Module, state: dict[str, Any], name: str) -> None:
    """Load weights into the network ``name``. Raises CheckpointError if they are of another."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"the checkpoint holds the weights of another network than {name}: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error


def _channel_statistics(images: npt.NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, of pixels divided by 255."""
    pixels = images.reshape(-1, images.shape[-1])
    mean = pixels.mean(axis=0, dtype=np.float64) / 255
    deviation = pixels.std(axis=0, dtype=np.float64) / 255
    return tuple(mean.tolist()), tuple(np.maximum(deviation, 1 / 255).tolist())


def _early_decay(step: int) -> float:
    """Return the decay during the first steps: a small one forgets the random weights soon."""
    return (1 + step) / (10 + step)


def _blend(average: dict[str, Any], state: dict[str, Any], decay: float) -> None:
    """Update the moving average by ``state``; integer counters are copied."""
    for name, value in state.items():
        if value.dtype.is_floating_point:
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)
