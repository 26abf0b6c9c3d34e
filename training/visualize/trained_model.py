"""Opens a trained model: its predictor, and its network if the weights can be restored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.errors import CheckpointError, MissingPackageError
from training.evaluation.metrics import Predictor, open_onnx, session_predictor, torch_predictor
from training.export.golden import golden_answers
from training.export.manifest import MODEL_NAME
from training.export.model_card import held_out_per_class
from training.learning.config import TrainConfig
from training.learning.run import CHECKPOINT_NAME, Run, load_checkpoint
from training.learning.train import trained_network
from training.networks import NETWORKS
from training.visualize.layers import Layer, layer_named, layers_of

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

_WEIGHT_PREFIX = "network."  # of the initializers in an exported file
_TOLERANCE = 1e-4
"""Largest allowed difference of a probability between an exported file and its restored network."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model."""

    path: Path
    name: str
    """Name of the network."""
    runtime: str
    """What ``predict`` runs on: PyTorch or ONNX Runtime."""
    predict: Predictor
    network: nn.Module | None
    """In evaluation mode; None if the weights could not be restored."""
    no_network_reason: str
    """Why ``network`` is None; empty otherwise."""
    validation_per_class: int
    """Training images of each class that were held out for validation."""
    metrics: list[dict[str, Any]]
    """One row per epoch; empty if the run is not known."""

    @cached_property
    def layers(self) -> list[Layer]:
        """The network's layers in the order they run; empty without a network."""
        return [] if self.network is None else layers_of(self.network)

    def layer(self, name: str | None) -> Layer | None:
        """Return the layer of that name, if one is given. Raises LayerError unless it has feature maps."""
        return None if name is None else layer_named(self.layers, name, self.name)


def open_trained_model(path: Path) -> TrainedModel:
    """Open a checkpoint, an ``.onnx`` file, or the run folder or model folder that holds one.

    Raises:
        CheckpointError: it is missing, damaged, or has other inputs and outputs.
        MissingPackageError: onnx or onnxruntime is not installed.
    """
    if path.is_dir():
        path = _model_in(path)
    return _open_exported(path) if path.suffix == ".onnx" else _open_checkpoint(path)


def _model_in(folder: Path) -> Path:
    for path in (folder / CHECKPOINT_NAME, folder / MODEL_NAME):
        if path.exists():
            return path
    raise CheckpointError(
        f"no model in {folder}: it has neither {CHECKPOINT_NAME} (from cifar10net-train fit) nor "
        f"{MODEL_NAME} (from cifar10net-train export)"
    )


def _open_checkpoint(path: Path) -> TrainedModel:
    checkpoint = load_checkpoint(path)
    network = trained_network(checkpoint).eval()
    return TrainedModel(
        path=path,
        name=checkpoint.config.network,
        runtime="PyTorch",
        predict=torch_predictor(network),
        network=network,
        no_network_reason="",
        validation_per_class=checkpoint.config.validation_per_class,
        metrics=Run(path.parent).metrics() if path.name == CHECKPOINT_NAME else [],
    )


def _open_exported(path: Path) -> TrainedModel:
    session = open_onnx(path)
    metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
    name = metadata.get("model", path.stem)
    predict = session_predictor(session)
    network, reason = None, ""
    try:
        network = _restore_network(path, name, predict)
    except _NotRestoredError as error:
        reason = str(error)
    return TrainedModel(
        path=path,
        name=name,
        runtime="ONNX Runtime",
        predict=predict,
        network=network,
        no_network_reason=reason,
        validation_per_class=held_out_per_class(metadata.get("recipe", ""))
        or TrainConfig().validation_per_class,
        metrics=[],
    )


class _NotRestoredError(Exception):
    """The weights of a file cannot be loaded into a network; the message says why."""


def _restore_network(path: Path, name: str, predict: Predictor) -> nn.Module:
    """Load the weights of an exported file into the network they came from.

    The network is accepted only if its predictions equal those of the file.
    """
    if name not in NETWORKS:
        raise _NotRestoredError(f"{path.name} names the network {name!r}, which does not exist here")
    network = NETWORKS[name]().eval()
    stored = _weights(path)
    state = {}
    for key, value in network.state_dict().items():
        if not value.is_floating_point():
            state[key] = value  # counters of training
            continue
        weight = stored.get(_WEIGHT_PREFIX + key)
        if weight is None:
            raise _NotRestoredError(f"{path.name} has no weights called {key}: its export rearranged them")
        if weight.shape != tuple(value.shape) or weight.dtype != np.float32:
            raise _NotRestoredError(
                f"{key} in {path.name} is {weight.dtype} {weight.shape}, wanted float32 {tuple(value.shape)}"
            )
        state[key] = torch.from_numpy(weight.copy())
    network.load_state_dict(state)
    golden = golden_answers(predict)
    difference = float(np.abs(torch_predictor(network)(golden.images) - golden.probabilities).max())
    if not difference <= _TOLERANCE:
        raise _NotRestoredError(
            f"{name} with the weights of {path.name} gives other probabilities, by up to {difference:.1e}"
        )
    return network


def _weights(path: Path) -> dict[str, Any]:
    try:
        import onnx  # noqa: PLC0415 - only exported files need it
        from onnx import numpy_helper  # noqa: PLC0415
    except ImportError as error:
        raise MissingPackageError("onnx", "train") from error
    graph = onnx.load(path).graph
    return {each.name: numpy_helper.to_array(each) for each in graph.initializer}
