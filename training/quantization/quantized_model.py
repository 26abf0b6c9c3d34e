"""Quantised models: reading the float32 original, measuring the loss, publishing ``<model>_<form>``."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from training.errors import QuantizeError, required
from training.evaluation.metrics import Evaluation, Predictor, onnx_predictor, predict_all, score
from training.export.manifest import MODEL_NAME, make_manifest
from training.export.model_card import accuracy_metadata, card_files, held_out_per_class, quantized_model_card
from training.export.publishing import publish, publish_card
from training.provenance import library_versions, source_commit

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import onnx

    from training.data.dataset import Split

_FLOAT, _FLOAT16 = 1, 10  # of onnx.TensorProto
_MATRIX_OPERATORS = frozenset({"Conv", "Gemm", "MatMul"})


@dataclass(frozen=True)
class FloatModel:
    """An exported float32 model, to be quantised."""

    path: Path
    model: onnx.ModelProto
    metadata: dict[str, str]
    sha256: str
    predict: Predictor

    @property
    def name(self) -> str:
        """Name of the model in its repository."""
        return self.metadata["model"]

    @property
    def validation_per_class(self) -> int | None:
        """Training images of each class that its run held out; None if it is not recorded."""
        return held_out_per_class(self.metadata.get("recipe", ""))


@dataclass(frozen=True)
class QuantizedModel:
    """An int8 or float16 form of a model, before it is published."""

    form: str
    """Suffix of its name: ``<model>_<form>``."""
    model: onnx.ModelProto
    settings: dict[str, str]
    """For the metadata: how it was made."""


@dataclass(frozen=True)
class QuantizationEffect:
    """Accuracy before and after quantisation, on the same test images."""

    before: Evaluation
    after: Evaluation
    same_top1: float
    """Share of the images for which both predict the same class."""
    largest_difference: float
    """Largest absolute difference of a probability."""
    mean_difference: float
    """Mean absolute difference of a probability."""

    @property
    def lost_points(self) -> float:
        """Percentage points of top-1 that were lost; negative if some were won."""
        return 100 * (self.before.top1 - self.after.top1)


def read_float_model(path: Path) -> FloatModel:
    """Read an exported float32 model.

    Raises:
        CheckpointError: the file is missing or damaged, or has other inputs or outputs.
        QuantizeError: the model is quantised already, or its metadata does not name it.
        MissingPackageError: onnx or onnxruntime is not installed.
    """
    with required("train"):
        import onnx  # noqa: PLC0415 - not needed for training
    predict = onnx_predictor(path)
    content = path.read_bytes()
    model = onnx.load_from_string(content)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    narrow = sum("QuantizeLinear" in node.op_type or "QLinear" in node.op_type for node in model.graph.node)
    halves = sum(value.data_type == _FLOAT16 for value in model.graph.initializer)
    if narrow or halves:
        raise QuantizeError(
            f"{path} is {'int8' if narrow else 'float16'} already ({narrow or halves} of its "
            f"{'nodes' if narrow else 'tensors'} are); give the float32 model it was made from"
        )
    if not metadata.get("model"):
        raise QuantizeError(
            f"the metadata of {path} does not name its model; export it again with cifar10net-train export"
        )
    return FloatModel(path, model, metadata, sha256(content).hexdigest(), predict)


def check_int8_coverage(source: FloatModel) -> None:
    """Check that int8 kernels exist for most of the weights.

    Raises:
        QuantizeError: less than half of the weights belong to convolutions and matrix products.
    """
    sizes = {
        value.name: int(np.prod(value.dims))
        for value in source.model.graph.initializer
        if value.data_type == _FLOAT and len(value.dims) > 1
    }
    taken = {
        name for node in source.model.graph.node if node.op_type in _MATRIX_OPERATORS for name in node.input
    }
    total, covered = sum(sizes.values()), sum(size for name, size in sizes.items() if name in taken)
    if 2 * covered < total:
        raise QuantizeError(
            f"{source.path} has {total:,} weights, of which only {covered:,} are of convolutions and "
            "matrices, and there are no int8 kernels for the others; serve it as it is, or as fp16"
        )


def measure_effect(source: FloatModel, quantized: Predictor, test: Split) -> QuantizationEffect:
    """Measure a quantised model and its original on the test split."""
    expected = predict_all(source.predict, test.images)
    answers = predict_all(quantized, test.images)
    difference = np.abs(answers - expected)
    return QuantizationEffect(
        before=score(expected, test),
        after=score(answers, test),
        same_top1=float((answers.argmax(axis=1) == expected.argmax(axis=1)).mean()),
        largest_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
    )


def in_memory_predictor(model: onnx.ModelProto) -> Predictor:
    """Load a model that is not in a file, in ONNX Runtime on the CPU."""
    return onnx_predictor(model.SerializeToString(deterministic=True))


def kl_divergence(expected: npt.NDArray[np.float32], answers: npt.NDArray[np.float32]) -> float:
    """Return the mean Kullback-Leibler divergence between probabilities (n, classes), in nats.

    It needs no labels, and shows differences that are too small for top-1 on a thousand images.
    """
    wanted, got = (np.maximum(values.astype(np.float64), 1e-12) for values in (expected, answers))
    return float((wanted * np.log(wanted / got)).sum(axis=1).mean())


def publish_quantized(  # noqa: PLR0913 - the model, its figures, and the destination
    source: FloatModel,
    quantized: QuantizedModel,
    effect: QuantizationEffect,
    test: Split,
    data_description: str,
    *,
    root: Path,
    version: int,
    may_replace: bool,
) -> Path:
    """Write ``root/<model>_<form>/<version>/model.onnx``, its manifest and its model card.

    Raises:
        ExportError: that version already holds another model.
        WriteError: the repository cannot be written.
    """
    name = f"{source.name}_{quantized.form}"
    model = quantized.model
    del model.metadata_props[:]
    model.graph.name, model.producer_name, model.producer_version = "cifar10net", "cifar10net-train", ""
    metadata = _metadata(source, quantized, effect.after, test, data_description) | {"model": name}
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    content = model.SerializeToString(deterministic=True)
    folder = root / name / str(version)
    figures = {
        "size": f"{len(content):,} bytes instead of {source.path.stat().st_size:,}",
        "the same most likely class": f"{effect.same_top1:.2%}",
        "mean difference of a probability": f"{effect.mean_difference:.1e}",
        "largest difference of a probability": f"{effect.largest_difference:.3f}",
    }
    publish(folder, content, make_manifest(content), may_replace=may_replace)
    card = quantized_model_card(name, metadata, effect.before, effect.after, figures)
    publish_card(folder, card_files(name, card))
    return folder / MODEL_NAME


def _metadata(
    source: FloatModel, quantized: QuantizedModel, after: Evaluation, test: Split, data_description: str
) -> dict[str, str]:
    """Return the metadata of the original, with accuracy and provenance of the quantised model."""
    return source.metadata | {
        **accuracy_metadata(after, test, data_description),
        "quantized_form": quantized.form,
        **{f"quantized_{key}": value for key, value in quantized.settings.items()},
        "quantized_from": source.name,
        "quantized_from_sha256": source.sha256,
        "quantized_commit": source_commit(),
        **{f"quantized_{key}": value for key, value in library_versions("onnx", "onnxruntime").items()},
    }
