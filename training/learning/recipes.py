"""Settings to begin with, by name; docs/experiments.md tells what was tried, and what is not proven yet."""

from __future__ import annotations

from dataclasses import replace

from training.learning.config import TrainConfig

_MUON = TrainConfig(optimizer="muon", flips="alternating", peak_learning_rate=0.1)

_TAUGHT = replace(
    _MUON,
    epochs=60,
    precision="bfloat16",
    teacher="exported_models/resnet/1/model.onnx",
    teacher_temperature=2.0,
)

RECIPES: dict[str, TrainConfig] = {
    "cifar10net": replace(_MUON, epochs=30),
    "cifar10net-best": _TAUGHT,
    "mean_pool": replace(_TAUGHT, network="mean_pool"),  # as its twin, since the two are compared
    "lenet": TrainConfig(network="lenet", epochs=30, peak_learning_rate=0.15),
    "fully_connected": TrainConfig(network="fully_connected", epochs=20, peak_learning_rate=0.02),
    "recurrent": TrainConfig(network="recurrent", epochs=30, peak_learning_rate=0.2),
    "resnet": replace(
        _MUON,
        network="resnet",
        epochs=30,
        peak_learning_rate=0.05,
        muon_weight_decay=0.04,
        shift_px=4,
        mix_share=0.5,  # with smaller shifts and nothing mixed it learned the images by heart
        precision="bfloat16",
        validation_per_class=500,  # who chooses between students takes the same 500: others it has seen
    ),
}
"""Every network has one of its own name; one that ends in ``-best`` takes longer."""
DEFAULT = "cifar10net"
