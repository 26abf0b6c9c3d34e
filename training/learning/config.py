"""Hyperparameters of a training run, checked when they are set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from training.errors import TrainingError
from training.networks import NETWORKS
from training.networks.kernels import KERNEL_FORMS
from training.settings import Setting, check_range, check_settings

_FLIPS, _TYPES = ("random", "alternating"), ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Hyperparameters of ``fit``; docs/experiments.md says where each default comes from.

    Files and metadata list them in the order of the fields.
    """

    network: Annotated[str, Setting("Architecture.", choices=tuple(NETWORKS))] = "cifar10net"
    seed: Annotated[int, Setting("Fixes weights, order and augmentation of the images.", 0, 2**32 - 1)] = 0
    epochs: Annotated[int, Setting("Passes over the training images.", 1, 100_000)] = 60
    batch_size: Annotated[int, Setting("Images in each step.", 2, 50_000)] = 250
    peak_learning_rate: Annotated[float, Setting("Peak of the one-cycle schedule.", 1e-8, 100)] = 0.1
    warmup_fraction: Annotated[float, Setting("Share of the steps before the peak.", 0, 0.9)] = 0.25
    momentum: Annotated[float, Setting("Nesterov momentum.", 0, 0.9999)] = 0.9
    weight_decay: Annotated[float, Setting("L2 penalty of weights; biases have none.", 0, 1)] = 5e-4
    optimizer: Annotated[str, Setting("muon: for convolution kernels only.", choices=("sgd", "muon"))] = "sgd"
    muon_learning_rate: Annotated[float, Setting("Peak learning rate of Muon.", 1e-8, 100)] = 0.05
    muon_weight_decay: Annotated[float, Setting("Decoupled weight decay of Muon.", 0, 1)] = 0.01
    kernels: Annotated[str, Setting("Form of convolution kernels.", choices=KERNEL_FORMS)] = "plain"
    shift_px: Annotated[int, Setting("Largest random shift along each axis, in pixels.", 0, 31)] = 2
    hide_px: Annotated[int, Setting("Side of the square painted over (cutout), in pixels.", 0, 31)] = 0
    mix_share: Annotated[float, Setting("Share of the images that get a CutMix patch.", 0, 1)] = 0.0
    flips: Annotated[str, Setting("Which half of the images is mirrored.", choices=_FLIPS)] = "random"
    precision: Annotated[str, Setting("Arithmetic; weights are always float32.", choices=_TYPES)] = "float32"
    teacher: Annotated[str, Setting("Run, its checkpoint.pt or an .onnx to distil from.")] = ""
    teacher_share: Annotated[float, Setting("Of the loss; the rest is that of the labels.", 0, 1)] = 0.9
    teacher_temperature: Annotated[float, Setting("Divides the logits for distillation.", 0.1, 100)] = 4.0
    average_decay: Annotated[float, Setting("Decay of the averaged weights at a step.", 0, 0.999999)] = 0.998
    validation_per_class: Annotated[int, Setting("Training images of each class held out.", 1, 5_000)] = 100
    """100 are enough to follow a run; choosing between recipes takes 500."""
    threads: Annotated[int, Setting("CPU threads of each process.", 1, 1_024)] = 1
    """A setting, like ``processes``, because another number rounds sums differently."""
    processes: int = 1
    """Processes that share each batch, started by torchrun."""
    device: Annotated[str, Setting("Where to compute.", choices=("cpu", "cuda"))] = "cpu"
    compile: bool = False
    """Whether torch.compile fuses the network's layers; only in a single process."""

    def __post_init__(self) -> None:
        check_settings(self)
        check_range("processes", self.processes, 1, self.batch_size)
        if self.compile and self.processes > 1:
            raise TrainingError(
                f"compile is True with {self.processes} processes, wanted one of the two: compiled networks "
                "do not exchange sums"
            )
