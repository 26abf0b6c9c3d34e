"""Predictors, and their accuracy on a split: loss, top-1, top-3, accuracy by class, confusion matrix."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from training.data.cifar10 import CLASS_NAMES, IMAGE_SHAPE
from training.errors import CheckpointError, required

if TYPE_CHECKING:
    from pathlib import Path

    from training.data.dataset import Split

Predictor = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""Maps images uint8 (n, 32, 32, 3) to probabilities float32 (n, 10)."""

_BATCH = 500
SMALLEST_PROBABILITY = 1e-30
"""Lower bound of a probability before its logarithm is taken."""
_TOP = 3


@dataclass(frozen=True)
class Evaluation:
    """Accuracy on ``n`` images; rates are 0 to 1."""

    n: int
    loss: float
    """Mean cross-entropy in nats."""
    top1: float
    top3: float
    confusion: npt.NDArray[np.int64]
    """(10, 10): rows are true classes, columns predicted ones."""

    @property
    def per_class(self) -> npt.NDArray[np.float64]:
        """Top-1 accuracy of each class (10,); NaN for a class without images."""
        totals = self.confusion.sum(axis=1)
        correct = np.diag(self.confusion)
        share: npt.NDArray[np.float64] = np.divide(
            correct, totals, out=np.full(len(totals), np.nan), where=totals > 0
        )
        return share

    @property
    def top1_standard_error(self) -> float:
        """Binomial standard error of ``top1``: sqrt(p (1 - p) / n)."""
        return math.sqrt(self.top1 * (1 - self.top1) / self.n)


def evaluate(predict: Predictor, split: Split) -> Evaluation:
    """Measure a predictor on a split."""
    return score(predict_all(predict, split.images), split)


def score(probabilities: npt.NDArray[np.float32], split: Split) -> Evaluation:
    """Compare probabilities (n, 10) with the labels of a split of ``n`` images."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    hits = order == split.labels[:, None]
    confusion = np.zeros((len(CLASS_NAMES), len(CLASS_NAMES)), np.int64)
    np.add.at(confusion, (split.labels, order[:, 0]), 1)
    likelihood = probabilities[np.arange(len(split)), split.labels].astype(np.float64)
    return Evaluation(
        n=len(split),
        loss=float(-np.log(np.maximum(likelihood, SMALLEST_PROBABILITY)).mean()),
        top1=float(hits[:, 0].mean()),
        top3=float(hits[:, :_TOP].any(axis=1).mean()),
        confusion=confusion,
    )


def predict_all(predict: Predictor, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Predict the probabilities (n, 10) of all images, in batches."""
    return np.concatenate(
        [predict(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    )


def torch_predictor(network: nn.Module, precision: str = "float32") -> Predictor:
    """Make a predictor of a network, which runs in evaluation mode on the device where its weights are.

    Args:
        network: maps uint8 images to logits.
        precision: arithmetic of convolutions and matrices, ``float32`` or ``bfloat16``.
    """

    def predict(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        was_training = network.training
        device = next(iter(network.state_dict().values())).device
        network.eval()
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"),
        ):
            logits = network(torch.from_numpy(np.ascontiguousarray(images)).to(device))
            probabilities: npt.NDArray[np.float32] = torch.softmax(logits.float(), dim=1).cpu().numpy()
        network.train(was_training)
        return probabilities

    return predict


def onnx_predictor(model: Path | bytes) -> Predictor:
    """Make a predictor of an exported ``.onnx``; raises as ``open_onnx``."""
    return session_predictor(open_onnx(model))


def open_onnx(model: Path | bytes, *, threads: int = 0) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Load an exported ``.onnx`` in ONNX Runtime on the CPU.

    Args:
        model: the file, or its content.
        threads: 1 computes in the calling thread; 0 leaves the number to ONNX Runtime.

    Returns:
        The session, with the signature of a Predictor.

    Raises:
        CheckpointError: the file is missing or damaged, or has other inputs or outputs.
        MissingPackageError: onnxruntime is not installed.
    """
    with required("cpu,train"):
        import onnxruntime  # noqa: PLC0415 - not needed for training
    name = "the model" if isinstance(model, bytes) else model
    if not isinstance(model, bytes) and not model.is_file():
        raise CheckpointError(f"no model at {model}: the file does not exist")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # On a busy machine, spinning threads take the core from the thread they wait for: computing a teacher's
    # logits beside a training took over 25 minutes instead of 5.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Without this, sums of int8 products saturate on x86 processors without VNNI. Before 1.30 it crashes the
    # process on a MatMulInteger without zero points.
    numbers = re.match(r"(\d+)\.(\d+)", onnxruntime.__version__)
    if numbers and (int(numbers[1]), int(numbers[2])) >= (1, 30):
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise CheckpointError(f"{name} is not a readable ONNX model ({error})") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shapes = [(value.type, value.shape[1:]) for value in (*inputs, *outputs)]
    wanted = [("tensor(uint8)", list(IMAGE_SHAPE)), ("tensor(float)", [len(CLASS_NAMES)])]
    if shapes != wanted or isinstance(inputs[0].shape[0], int):
        raise CheckpointError(
            f"{name} has inputs and outputs {shapes} behind a batch axis, wanted {wanted} for any batch size"
        )
    return session


def session_predictor(session: Any) -> Predictor:  # noqa: ANN401 - onnxruntime has no types
    """Make a predictor of a session of ``open_onnx``."""
    (pixels,), (output,) = session.get_inputs(), session.get_outputs()

    def predict(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        probabilities: npt.NDArray[np.float32] = session.run([output.name], {pixels.name: images})[0]
        return probabilities

    return predict
