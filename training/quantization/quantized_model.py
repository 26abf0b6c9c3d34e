"""A twin of a model: the same network in narrower numbers, published beside the one that it came from.

In: an exported float32 ``.onnx``, and a narrower form of it. Out: ``<root>/<model>_<form>/<version>/``, with
what it says of itself and the accuracy of both on the test split. Knows nothing of how a form is made.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training.errors import MissingPackageError, QuantizeError
from training.evaluation.metrics import Evaluation, Predictor, onnx_predictor, predict_all, score
from training.export.manifest import MODEL_NAME, describe
from training.export.model_card import card_texts, held_out_per_class, twin_card
from training.export.publishing import describe_newest, publish
from training.provenance import library_versions, source_commit

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

    from training.data.dataset import Split

FEWEST_TESTED = 1_000
_FLOAT, _FLOAT16 = 1, 10  # of onnx.TensorProto
_MATRIX_OPERATORS = frozenset({"Conv", "Gemm", "MatMul"})


@dataclass(frozen=True)
class Source:
    """An exported float32 model."""

    path: Path
    model: onnx.ModelProto
    metadata: dict[str, str]
    sha256: str
    predict: Predictor

    @property
    def name(self) -> str:
        """Of the model in its repository."""
        return self.metadata["model"]

    @property
    def validation_per_class(self) -> int | None:
        """Training images of each class that its run held out; None if it does not say."""
        return held_out_per_class(self.metadata.get("recipe", ""))


@dataclass(frozen=True)
class Twin:
    """A narrower form of a model, before it is published."""

    form: str
    """Of the name: ``<model>_<form>``."""
    model: onnx.ModelProto
    settings: dict[str, str]
    """How it was made."""


@dataclass(frozen=True)
class Comparison:
    """A twin beside the model that it came from, on the same test images."""

    before: Evaluation
    after: Evaluation
    same_top1: float
    """Share of the images of which both name the same class."""
    largest_difference: float
    """Of any probability."""
    mean_difference: float

    @property
    def lost_points(self) -> float:
        """Top-1 that the twin has less, in percentage points; negative if it has more."""
        return 100 * (self.before.top1 - self.after.top1)


def read_source(path: Path) -> Source:
    """Read a float32 ``.onnx`` of ours.

    Raises:
        CheckpointError: the file is missing, damaged, or takes or gives something else.
        QuantizeError: it is in narrower numbers already, or does not say what model it is.
        MissingPackageError: onnx or onnxruntime is not installed.
    """
    try:
        import onnx  # noqa: PLC0415 - reading a graph needs it, evaluating does not
    except ImportError as error:
        raise MissingPackageError("onnx", "train") from error
    predict = onnx_predictor(path)
    content = path.read_bytes()
    model = onnx.load_from_string(content)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    narrow = sum("QuantizeLinear" in node.op_type or "QLinear" in node.op_type for node in model.graph.node)
    halves = sum(value.data_type == _FLOAT16 for value in model.graph.initializer)
    if narrow or halves:
        raise QuantizeError(
            f"{path} is {'int8' if narrow else 'float16'} already ({narrow or halves} of its "
            f"{'nodes' if narrow else 'tensors'} are); give the float32 model that it came from"
        )
    if not metadata.get("model"):
        raise QuantizeError(
            f"{path} does not say in its metadata which model it is; export it again with "
            "cifar10net-train export"
        )
    return Source(path, model, metadata, sha256(content).hexdigest(), predict)


def check_matrices(source: Source) -> None:
    """Refuse a model most of whose weights no int8 kernel takes.

    Raises:
        QuantizeError: less than half of the weights are those of convolutions and matrices.
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
            "matrices, and no int8 kernel takes the others; serve it as it is, or as fp16"
        )


def compare(source: Source, twin: Predictor, test: Split) -> Comparison:
    """Measure a twin and its source on the test split."""
    expected = predict_all(source.predict, test.images)
    answers = predict_all(twin, test.images)
    difference = np.abs(answers - expected)
    return Comparison(
        before=score(expected, test),
        after=score(answers, test),
        same_top1=float((answers.argmax(axis=1) == expected.argmax(axis=1)).mean()),
        largest_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
    )


def predictor(model: onnx.ModelProto) -> Predictor:
    """Predict with a model that is no file yet, in ONNX Runtime on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL_NAME
        path.write_bytes(model.SerializeToString(deterministic=True))
        return onnx_predictor(path)


def divergence(expected: npt.NDArray[np.float32], answers: npt.NDArray[np.float32]) -> float:
    """Return how much is lost by ``answers`` (n, classes): mean Kullback-Leibler divergence in nats.

    It needs no labels, and tells forms apart that top-1 on a thousand images cannot.
    """
    wanted, got = (np.maximum(values.astype(np.float64), 1e-12) for values in (expected, answers))
    return float((wanted * np.log(wanted / got)).sum(axis=1).mean())


def publish_twin(  # noqa: PLR0913 - what, what is known of it, and where to
    source: Source,
    twin: Twin,
    comparison: Comparison,
    test: Split,
    data_description: str,
    *,
    root: Path,
    version: int,
    may_replace: bool,
) -> Path:
    """Write a twin as ``root/<model>_<form>/<version>/model.onnx`` and what belongs to it.

    Raises:
        ExportError: there is another model of that version.
        WriteError: the repository cannot be written.
    """
    name = f"{source.name}_{twin.form}"
    model = twin.model
    del model.metadata_props[:]
    model.graph.name, model.producer_name, model.producer_version = "cifar10net", "cifar10net-train", ""
    metadata = _metadata(source, twin, comparison.after, test, data_description) | {"model": name}
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    content = model.SerializeToString(deterministic=True)
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / MODEL_NAME
        trial.write_bytes(content)
        manifest = describe(trial)
    folder_of_version = root / name / str(version)
    figures = {
        "size": f"{len(content):,} bytes instead of {source.path.stat().st_size:,}",
        "the same most likely class": f"{comparison.same_top1:.2%}",
        "mean difference of a probability": f"{comparison.mean_difference:.1e}",
        "largest difference of a probability": f"{comparison.largest_difference:.3f}",
    }
    publish(folder_of_version, content, manifest, may_replace=may_replace)
    card = twin_card(name, metadata, comparison.before, comparison.after, figures)
    describe_newest(folder_of_version, card_texts(name, card))
    return folder_of_version / MODEL_NAME


def _metadata(
    source: Source, twin: Twin, after: Evaluation, test: Split, data_description: str
) -> dict[str, str]:
    """What the file says of itself: all that its source says, and how it was made from it."""
    before = source.metadata
    return before | {
        "accuracy_top1": f"{after.top1:.4f}",
        "accuracy_top3": f"{after.top3:.4f}",
        "accuracy_images": str(after.n),
        "accuracy_data": f"test split, {data_description}",
        "accuracy_data_sha256": test.digest(),
        "quantized_form": twin.form,
        **{f"quantized_{key}": value for key, value in twin.settings.items()},
        "quantized_from": source.name,
        "quantized_from_sha256": source.sha256,
        "quantized_commit": source_commit(),
        **{f"quantized_{key}": value for key, value in library_versions("onnx", "onnxruntime").items()},
    }
