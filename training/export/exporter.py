"""A trained checkpoint becomes one self-contained ``.onnx`` in a model repository.

In: a finished checkpoint, the data set. Out: ``<root>/<model>/<version>/`` with ``model.onnx``, its
``manifest.json`` and ``inside.onnx``, and beside the versions what Triton and a reader need of the newest.
The file is kept only if ONNX Runtime answers as PyTorch does on real images.
This is the one place where the test split is read after training.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from training.data.sources import CLASS_NAMES, IMAGE_SHAPE
from training.errors import CheckpointError, ExportError, MissingPackageError
from training.evaluation.metrics import Evaluation, onnx_predictor, predict_all, score, torch_predictor
from training.evaluation.probability_calibration import fit_temperature, with_temperature
from training.export.layer_outputs import look_inside
from training.export.manifest import MODEL_NAME, describe
from training.export.model_card import card_texts, model_card, recipe_text
from training.export.publishing import describe_newest, publish
from training.learning.train import trained_network
from training.provenance import library_versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

    from training.data.dataset import Split
    from training.learning.run import Checkpoint

INPUT_NAME = "images"
OUTPUT_NAME = "probabilities"
OPSET = 20
TOLERANCE = 1e-5
"""Largest difference of a probability between ONNX Runtime and PyTorch."""
FEWEST_COMPARED = 1_000


@dataclass(frozen=True)
class Exported:
    """What ``export`` wrote and how good it is."""

    path: Path
    evaluation: Evaluation
    compared: int
    """Images on which ONNX Runtime and PyTorch were compared."""
    largest_difference: float
    """Of any probability on those images."""
    temperature: float
    """By which logits were divided; 1 if they were left as they were."""


class _Answer(nn.Module):
    """The network with softmax, the function that is exported."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.network(images), dim=1)


def export(  # noqa: PLR0913 - what, and where to
    checkpoint: Checkpoint,
    test: Split,
    data_description: str,
    root: Path,
    version: int = 1,
    *,
    held_out: Split | None = None,
    may_replace: bool = False,
) -> Exported:
    """Write a checkpoint as ``root/<network>/<version>/model.onnx``.

    Args:
        checkpoint: a finished run.
        test: the test split, at least 1,000 images; accuracy and agreement are measured on it.
        data_description: what the test images are, for the metadata and the model card.
        root: the model repository.
        version: version number of the model, 1 or more.
        held_out: the run's validation images; how sure the network is of its answers is corrected on them.
        may_replace: whether another model of that version makes room.

    Raises:
        CheckpointError: the run is unfinished or of another network.
        ExportError: too few images to compare on, ONNX Runtime and PyTorch differ, or there is another
            model of that version.
        MissingPackageError: onnx, onnxscript or onnxruntime is not installed.
        WriteError: the repository cannot be written.
    """
    if not checkpoint.is_finished:
        raise CheckpointError(
            f"the run has done {checkpoint.epoch} of {checkpoint.config.epochs} epochs; "
            "finish it with cifar10net-train fit --resume"
        )
    if len(test) < FEWEST_COMPARED:
        raise ExportError(
            f"{len(test)} test images are too few to compare ONNX Runtime with PyTorch on, "
            f"wanted at least {FEWEST_COMPARED}"
        )
    network, temperature = trained_network(checkpoint), 1.0
    if held_out is not None:
        temperature = fit_temperature(predict_all(torch_predictor(network), held_out.images), held_out.labels)
        network = with_temperature(network, temperature)
    model = _to_onnx(network)
    name = checkpoint.config.network
    path = root / name / str(version) / MODEL_NAME
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / MODEL_NAME
        trial.write_bytes(model.SerializeToString(deterministic=True))
        evaluation, difference = _verify(trial, network, test)
        told = _metadata(checkpoint, evaluation, test, data_description)
        for key, value in (told | {"temperature": f"{temperature:.4f}"}).items():
            model.metadata_props.add(key=key, value=value)
        content = model.SerializeToString(deterministic=True)
        trial.write_bytes(content)
        manifest = describe(trial)  # metadata and all, it still loads and answers
    publish(path.parent, content, manifest, inside=look_inside(content), may_replace=may_replace)
    card = model_card(checkpoint, evaluation, data_description, len(content), difference, temperature)
    describe_newest(path.parent, card_texts(name, card))
    return Exported(path, evaluation, len(test), difference, temperature)


def _to_onnx(network: nn.Module) -> onnx.ModelProto:
    """Trace the network; the same weights give the same bytes on any machine and path."""
    try:
        import onnx  # noqa: F401, PLC0415 - the exporter needs both, training neither
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as error:
        raise MissingPackageError(str(error.name), "train") from error
    with _quiet_exporter():
        program = torch.onnx.export(
            _Answer(network).eval(),
            (torch.zeros((2, *IMAGE_SHAPE), dtype=torch.uint8),),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes={INPUT_NAME: {0: torch.export.Dim("batch")}},
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise ExportError("torch.onnx.export gave no program")
    model = program.model_proto
    _clear_traces(model)
    return model


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hide what the exporter says of itself: that torchvision is absent, and its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            for of_lstm in ("The tensor attributes", r"The \.grad attribute of a Tensor"):
                warnings.filterwarnings("ignore", of_lstm, UserWarning)
            yield
    finally:
        logger.setLevel(level)


def _clear_traces(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes about this machine: source paths, stack traces, names."""
    graph = model.graph
    noted: list[Any] = [model, graph, *graph.node, *graph.initializer]
    noted += [*graph.input, *graph.output, *graph.value_info]
    for item in noted:
        del item.metadata_props[:]
        item.doc_string = ""
    graph.name = "cifar10net"
    model.producer_name, model.producer_version = "cifar10net-train", ""


def _verify(path: Path, network: nn.Module, test: Split) -> tuple[Evaluation, float]:
    """Compare the file with the network on every test image, and measure it on the way."""
    expected = predict_all(torch_predictor(network), test.images)
    answers = predict_all(onnx_predictor(path), test.images)
    difference = float(np.abs(answers - expected).max())
    if not difference <= TOLERANCE:
        raise ExportError(
            f"ONNX Runtime and PyTorch differ by {difference:.1e} on {len(test)} images, wanted at "
            f"most {TOLERANCE:.0e}; nothing was written"
        )
    return score(answers, test), difference


def _metadata(
    checkpoint: Checkpoint, evaluation: Evaluation, test: Split, data_description: str
) -> dict[str, str]:
    """What the file says of itself, all of it text."""
    return {
        "model": checkpoint.config.network,
        "labels": ",".join(CLASS_NAMES),
        "accuracy_top1": f"{evaluation.top1:.4f}",
        "accuracy_top3": f"{evaluation.top3:.4f}",
        "accuracy_images": str(evaluation.n),
        "accuracy_data": f"test split, {data_description}",
        "accuracy_data_sha256": test.digest(),
        "recipe": recipe_text(checkpoint.config),
        "seed": str(checkpoint.config.seed),
        **{f"trained_{key}": value for key, value in sorted(checkpoint.provenance.items())},
        **{
            f"exported_{name}": version
            for name, version in library_versions("onnx", "onnxscript", "torch").items()
        },
    }
