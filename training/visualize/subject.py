"""What is looked at: a trained model, as far as it can be opened.

In: a run folder, a checkpoint or an ``.onnx`` file. Out: a ``Subject`` that answers, and where the network's
weights are to be had, the network itself. Knows nothing of pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
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

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

_PREFIX = "network."  # of the weights' names in a file that export wrote
_TOLERANCE = 1e-4
"""Largest difference of a probability between the file and the network that its weights were put into."""


@dataclass(frozen=True)
class Subject:
    """A trained model."""

    path: Path
    name: str
    """The network's name."""
    runtime: str
    """What answers: PyTorch or ONNX Runtime."""
    predict: Predictor
    network: nn.Module | None
    """In evaluation mode; None where only answers are to be had."""
    closed_because: str
    """Why there is no network; empty where there is one."""
    validation_per_class: int
    """How many training images of each class were held out from it."""
    metrics: list[dict[str, Any]]
    """A row an epoch; empty where the run is not known."""


def open_subject(path: Path) -> Subject:
    """Open a run folder, a checkpoint, an ``.onnx`` file, or the folder that has one.

    Raises:
        CheckpointError: there is none, or it is damaged or of another shape.
        MissingPackageError: onnx or onnxruntime is not installed.
    """
    if path.is_dir():
        path = _model_in(path)
    return _exported(path) if path.suffix == ".onnx" else _checkpointed(path)


def _model_in(folder: Path) -> Path:
    for name in (CHECKPOINT_NAME, MODEL_NAME):
        if (folder / name).exists():
            return folder / name
    raise CheckpointError(
        f"no model in {folder}: it has neither {CHECKPOINT_NAME} (of cifar10net-train fit) nor {MODEL_NAME} "
        "(of cifar10net-train export)"
    )


def _checkpointed(path: Path) -> Subject:
    checkpoint = load_checkpoint(path)
    network = trained_network(checkpoint).eval()
    return Subject(
        path=path,
        name=checkpoint.config.network,
        runtime="PyTorch",
        predict=torch_predictor(network),
        network=network,
        closed_because="",
        validation_per_class=checkpoint.config.validation_per_class,
        metrics=Run(path.parent).metrics() if path.name == CHECKPOINT_NAME else [],
    )


def _exported(path: Path) -> Subject:
    session = open_onnx(path)
    told: dict[str, str] = session.get_modelmeta().custom_metadata_map
    name = told.get("model", path.stem)
    predict = session_predictor(session)
    try:
        network = _opened(path, name, predict)
        because = ""
    except _ClosedError as closed:
        network, because = None, str(closed)
    return Subject(
        path=path,
        name=name,
        runtime="ONNX Runtime",
        predict=predict,
        network=network,
        closed_because=because,
        validation_per_class=held_out_per_class(told.get("recipe", "")) or TrainConfig().validation_per_class,
        metrics=[],
    )


class _ClosedError(Exception):
    """The weights of a file cannot be put back into a network; the message says why."""


def _opened(path: Path, name: str, predict: Predictor) -> nn.Module:
    """Put the weights of an exported file back into the network that they came from.

    The file's own answers prove it: the network has to give them too.
    """
    if name not in NETWORKS:
        raise _ClosedError(f"{path.name} says it is {name!r}, and no network here is called that")
    network = NETWORKS[name]().eval()
    stored = _weights(path)
    state = {}
    for key, value in network.state_dict().items():
        if not value.is_floating_point():
            state[key] = value  # counters of training
            continue
        weight = stored.get(_PREFIX + key)
        if weight is None:
            raise _ClosedError(f"{path.name} does not keep {key} under its name, as export rearranges it")
        if weight.shape != tuple(value.shape) or weight.dtype != np.float32:
            raise _ClosedError(
                f"{key} in {path.name} is {weight.dtype} {weight.shape}, wanted float32 {tuple(value.shape)}"
            )
        state[key] = torch.from_numpy(weight.copy())
    network.load_state_dict(state)
    golden = golden_answers(predict)
    difference = float(np.abs(torch_predictor(network)(golden.images) - golden.probabilities).max())
    if not difference <= _TOLERANCE:
        raise _ClosedError(
            f"{name} with the weights of {path.name} answers otherwise than it, by up to {difference:.1e}"
        )
    return network


def _weights(path: Path) -> dict[str, Any]:
    try:
        import onnx  # noqa: PLC0415 - only this way in needs it
        from onnx import numpy_helper  # noqa: PLC0415
    except ImportError as error:
        raise MissingPackageError("onnx", "train") from error
    graph = onnx.load(path).graph
    return {each.name: numpy_helper.to_array(each) for each in graph.initializer}
