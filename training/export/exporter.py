"""Exports a finished run as a self-contained ``.onnx`` in a model repository.

Writes ``<root>/<model>/<version>/`` with ``model.onnx``, ``manifest.json`` and ``inside.onnx``; beside the
versions go Triton's configuration and the model card of the newest. The file is kept only if ONNX Runtime and
PyTorch agree on the test split, which training never reads.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from training.data.cifar10 import CLASS_NAMES, IMAGE_SHAPE
from training.errors import CheckpointError, ExportError, required
from training.evaluation.metrics import Evaluation, onnx_predictor, predict_all, score, torch_predictor
from training.evaluation.probability_calibration import fit_temperature, with_temperature
from training.export.layer_outputs import with_layer_outputs
from training.export.manifest import MODEL_NAME, make_manifest
from training.export.model_card import accuracy_metadata, card_files, model_card, recipe_text
from training.export.publishing import publish, publish_card
from training.learning.train import trained_network
from training.provenance import library_versions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import onnx

    from training.data.dataset import Split
    from training.learning.run import Checkpoint

INPUT_NAME = "images"
OUTPUT_NAME = "probabilities"
OPSET = 20
TOLERANCE = 1e-5
"""Largest difference of a probability between ONNX Runtime and PyTorch."""
MIN_TEST_IMAGES = 1_000
"""Fewest images that accuracy and agreement are measured on."""


@dataclass(frozen=True)
class ExportResult:
    """The file that ``export`` wrote, and its accuracy."""

    path: Path
    evaluation: Evaluation
    compared: int
    """Images on which ONNX Runtime and PyTorch were compared."""
    largest_difference: float
    """Largest difference of a probability on those images."""
    temperature: float
    """Divisor of the logits (temperature scaling); 1 without calibration."""


class _WithSoftmax(nn.Module):
    """The exported function: the network, then softmax."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.network(images), dim=1)


def export(  # noqa: PLR0913 - the model, its data and the destination
    checkpoint: Checkpoint,
    test: Split,
    data_description: str,
    root: Path,
    version: int = 1,
    *,
    held_out: Split | None = None,
    may_replace: bool = False,
) -> ExportResult:
    """Write a checkpoint as ``root/<network>/<version>/model.onnx``.

    Args:
        checkpoint: a finished run.
        test: the test split, at least 1,000 images; accuracy and agreement are measured on it.
        data_description: describes the test images in the metadata and the model card.
        root: the model repository.
        version: version number of the model, 1 or more.
        held_out: the run's validation images, for temperature scaling; None leaves it out.
        may_replace: whether to replace another model of that version.

    Raises:
        CheckpointError: the run is unfinished, or its weights are of another network.
        ExportError: there are too few test images, ONNX Runtime and PyTorch differ, or that version already
            holds another model.
        MissingPackageError: onnx, onnxscript or onnxruntime is not installed.
        WriteError: the repository cannot be written.
    """
    if not checkpoint.is_finished:
        raise CheckpointError(
            f"the run has done {checkpoint.epoch} of {checkpoint.config.epochs} epochs; "
            "finish it with cifar10net-train fit --resume"
        )
    if len(test) < MIN_TEST_IMAGES:
        raise ExportError(
            f"{len(test)} test images are too few to compare ONNX Runtime with PyTorch on, "
            f"wanted at least {MIN_TEST_IMAGES}"
        )
    network, temperature = trained_network(checkpoint), 1.0
    if held_out is not None:
        temperature = fit_temperature(predict_all(torch_predictor(network), held_out.images), held_out.labels)
        network = with_temperature(network, temperature)
    model = _to_onnx(network)
    name = checkpoint.config.network
    path = root / name / str(version) / MODEL_NAME
    evaluation, difference = _verify(model.SerializeToString(deterministic=True), network, test)
    metadata = _metadata(checkpoint, evaluation, test, data_description)
    for key, value in (metadata | {"temperature": f"{temperature:.4f}"}).items():
        model.metadata_props.add(key=key, value=value)
    content = model.SerializeToString(deterministic=True)
    manifest = make_manifest(content)  # also checks that the final file loads and runs
    publish(path.parent, content, manifest, inside=with_layer_outputs(content), may_replace=may_replace)
    card = model_card(checkpoint, evaluation, data_description, len(content), difference, temperature)
    publish_card(path.parent, card_files(name, card))
    return ExportResult(path, evaluation, len(test), difference, temperature)


def _to_onnx(network: nn.Module) -> onnx.ModelProto:
    """Trace the network; the same weights give the same bytes on any machine and in any folder."""
    with required("train"):
        import onnx  # noqa: F401, PLC0415 - torch.onnx needs both
        import onnxscript  # noqa: F401, PLC0415
    with _quiet_exporter():
        program = torch.onnx.export(
            _WithSoftmax(network).eval(),
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
        raise ExportError("torch.onnx.export returned no program")
    model = program.model_proto
    _clear_traces(model)
    return model


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hide the exporter's notes about missing torchvision and its own deprecations."""
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
    """Remove the exporter's notes about this machine: source paths, stack traces, names."""
    graph = model.graph
    noted: list[Any] = [model, graph, *graph.node, *graph.initializer]
    noted += [*graph.input, *graph.output, *graph.value_info]
    for item in noted:
        del item.metadata_props[:]
        item.doc_string = ""
    graph.name = "cifar10net"
    model.producer_name, model.producer_version = "cifar10net-train", ""


def _verify(content: bytes, network: nn.Module, test: Split) -> tuple[Evaluation, float]:
    """Compare file and network on every test image; return accuracy and largest difference."""
    expected = predict_all(torch_predictor(network), test.images)
    answers = predict_all(onnx_predictor(content), test.images)
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
    """Return the metadata of the file."""
    return {
        "model": checkpoint.config.network,
        "labels": ",".join(CLASS_NAMES),
        **accuracy_metadata(evaluation, test, data_description),
        "recipe": recipe_text(checkpoint.config),
        "seed": str(checkpoint.config.seed),
        **{f"trained_{key}": value for key, value in sorted(checkpoint.provenance.items())},
        **{
            f"exported_{name}": version
            for name, version in library_versions("onnx", "onnxscript", "torch").items()
        },
    }
