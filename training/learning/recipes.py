"""Recipes: named settings to start a run from; docs/experiments.md has the experiments behind them."""

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
    "mean_pool": replace(_TAUGHT, network="mean_pool"),  # as CIFAR10Net, since the two are compared
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
        mix_share=0.5,  # with smaller shifts and without CutMix it overfitted
        precision="bfloat16",
        validation_per_class=500,  # students are chosen on the same 500: it has not trained on them
    ),
}
"""Every network has a recipe of its name; recipes that end in ``-best`` take longer."""
DEFAULT = "cifar10net"
