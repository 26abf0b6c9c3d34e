"""Every number that shapes a training run, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass

from training.errors import TrainingError

CHOICES = {
    "optimizer": ("sgd", "muon"),
    "kernels": ("plain", "branches", "expanded"),
    "flips": ("random", "alternating"),
    "precision": ("float32", "bfloat16"),
    "device": ("cpu", "cuda"),
}
"""What the settings that are words may be."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What ``fit`` does; where a default came from is told in docs/experiments.md."""

    network: str = "cifar10net"
    seed: int = 0
    """Fixes the initial weights, the order of the images and their augmentation."""
    epochs: int = 60
    """Passes over the training images."""
    batch_size: int = 250
    """Images a step."""
    peak_learning_rate: float = 0.1
    """Reached after ``warmup_fraction`` of the steps, then down to nothing along a cosine."""
    warmup_fraction: float = 0.25
    momentum: float = 0.9
    """Nesterov momentum of SGD."""
    weight_decay: float = 5e-4
    """L2 penalty of convolution and matrix weights; biases have none."""
    optimizer: str = "sgd"
    """``sgd``, or ``muon`` for the kernels of convolutions beside ``sgd`` for all else."""
    muon_learning_rate: float = 0.05
    """Peak of Muon's learning rate."""
    muon_weight_decay: float = 0.01
    """Decoupled: each step shrinks a kernel by this times Muon's learning rate."""
    kernels: str = "plain"
    """How kernels of convolutions are parameterised: ``plain``, ``branches`` or ``expanded``."""
    shift_px: int = 2
    """Largest random shift along each axis."""
    hide_px: int = 0
    """Side of a square that is hidden in each image, painted in the mean colour."""
    mix_share: float = 0.0
    """Of the images: those that get a patch of another one, and a share of its class (CutMix)."""
    flips: str = "random"
    """Mirror half of the images: ``random`` ones, or ``alternating`` each with the other half."""
    precision: str = "float32"
    """Arithmetic of convolutions and matrices: ``float32`` or ``bfloat16``; weights are always float32."""
    teacher: str = ""
    """Whose answers are learned from beside the labels: a run, a checkpoint or an .onnx; none if empty."""
    teacher_share: float = 0.9
    """Of the loss; the rest is the labels'."""
    teacher_temperature: float = 4.0
    """By which the logits of both are divided before they are compared."""
    average_decay: float = 0.998
    """Share of the old value that the averaged weights keep at each step."""
    validation_per_class: int = 100
    """Training images of each class held out: 100 show how a run goes, to choose a recipe take 500."""
    threads: int = 1
    """CPU threads of each process; here because sums round differently with another number, as with these:"""
    processes: int = 1
    """That share each batch; torchrun starts them."""
    device: str = "cpu"
    """What computes: ``cpu`` or ``cuda``."""
    compile: bool = False
    """Whether torch.compile fuses the network's layers; in one process alone."""

    def __post_init__(self) -> None:
        for name, smallest, largest in (
            ("seed", 0, 2**32 - 1),
            ("epochs", 1, 100_000),
            ("batch_size", 2, 50_000),
            ("peak_learning_rate", 1e-8, 100),
            ("warmup_fraction", 0, 0.9),
            ("momentum", 0, 0.9999),
            ("weight_decay", 0, 1),
            ("shift_px", 0, 31),
            ("hide_px", 0, 31),
            ("mix_share", 0, 1),
            ("muon_learning_rate", 1e-8, 100),
            ("muon_weight_decay", 0, 1),
            ("teacher_share", 0, 1),
            ("teacher_temperature", 0.1, 100),
            ("average_decay", 0, 0.999999),
            ("validation_per_class", 1, 5_000),
            ("threads", 1, 1_024),
            ("processes", 1, self.batch_size),
        ):
            value = getattr(self, name)
            if not smallest <= value <= largest:
                raise TrainingError(f"{name} is {value}, wanted {smallest} to {largest}")
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise TrainingError(f"{name} is {value!r}, wanted one of {', '.join(choices)}")
        if self.compile and self.processes > 1:
            raise TrainingError(
                f"compile is True with {self.processes} processes, wanted one of the two: what is compiled "
                "does not exchange sums"
            )
