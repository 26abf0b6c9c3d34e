"""A float32 graph becomes one of int8 by ONNX Runtime's quantizer, with scales from images.

In: a float ``.onnx`` and the images to calibrate on. Out: the same with QuantizeLinear and DequantizeLinear
around what int8 kernels can compute (static QDQ): weights int8 with a scale for each output channel,
activations uint8. The only importer of ``onnxruntime.quantization``. Knows nothing of accuracy.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.errors import MissingPackageError
from training.int8_graph import for_int8
from training.onnx_nodes import Nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    import onnx

_BATCH = 50  # images whose activations are in memory at a time
# What has int8 kernels, and what only moves bytes. Softmax stays in float32.
_OPERATORS = [
    *("Conv", "Gemm", "MatMul", "Add", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool"),
    *("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Concat"),
]
LARGEST_WEIGHT = {8: 127, 7: 64}
"""The integer that a channel's largest weight becomes, by bits of a weight."""


@dataclass(frozen=True)
class Method:
    """A way to choose the range of an activation from those that were seen."""

    name: str
    kind: str
    """Of onnxruntime.quantization.CalibrationMethod."""
    percentile: float | None = None


METHODS = (
    Method("min-max", "MinMax"),
    Method("percentile 99.999", "Percentile", 99.999),
    Method("percentile 99.99", "Percentile", 99.99),
    Method("entropy", "Entropy"),
)


def to_int8(
    model: onnx.ModelProto,
    images: npt.NDArray[np.uint8],
    method: Method,
    *,
    weight_bits: int = 8,
    for_openvino: bool = False,
) -> onnx.ModelProto:
    """Quantise a model.

    Args:
        model: an ``.onnx`` of ours in float32; it is left as it is.
        images: uint8 (n, 32, 32, 3) to calibrate on.
        method: how ranges are chosen.
        weight_bits: 8; or 7, which cannot overflow the 16-bit sums of x86 processors without VNNI.
        for_openvino: keep the graph as it was exported, which OpenVINO's own optimiser wants; the CPU
            provider wants ``int8_graph``'s.

    Raises:
        MissingPackageError: onnxruntime is not installed.
    """
    try:
        from onnxruntime import quantization  # noqa: PLC0415 - training itself runs without it
    except ImportError as error:
        raise MissingPackageError("onnxruntime", "cpu,train") from error
    nodes = Nodes(model)
    pixels = None if for_openvino else for_int8(nodes, LARGEST_WEIGHT[weight_bits])
    prepared = nodes.model()
    prepared.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")  # nothing to warn of
    as_they_are = [{"scale": np.array(1, np.float32), "zero_point": np.array(0, np.uint8)}]
    options: dict[str, Any] = {
        "CalibTensorRangeSymmetric": False,
        "CalibStridedMinMax": 1,  # for every method: one batch's activations at a time
        "TensorQuantOverrides": {pixels: as_they_are} if pixels else {},
    }
    if method.percentile is not None:
        options["CalibPercentile"] = method.percentile
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            prepared,
            path,
            _reader(quantization, images),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            per_channel=True,
            reduce_range=weight_bits != 8,  # noqa: PLR2004
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod[method.kind],
            extra_options=options,
        )
        return _tidied(path, pixels)


def _tidied(path: Path, pixels: str | None) -> onnx.ModelProto:
    """Take out what is lost time: pixels made float and bytes again, logits made bytes and float again."""
    import onnx  # noqa: PLC0415 - needed for changing graphs alone

    nodes = Nodes(onnx.load(path))
    for cast in [node for node in nodes.of_type("Cast") if node.output[0] == pixels]:
        for quantised in nodes.chain(cast.output[0], ["QuantizeLinear"]):
            nodes.replace(quantised, cast.input[0])
    for quantised in list(nodes.of_type("QuantizeLinear")):
        if way := nodes.chain(quantised.output[0], ["DequantizeLinear", "Softmax"]):
            nodes.reconnect(way[0].output[0], quantised.input[0])
    return nodes.model()


def _reader(quantization: Any, images: npt.NDArray[np.uint8]) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Hand out the images batch by batch, in the way of the library."""
    batches = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(batches)

        def __len__(self) -> int:
            return len(batches)

        def set_range(self, start_index: int, end_index: int) -> None:
            self._left = iter(batches[start_index:end_index])

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self._left, None)
            return None if batch is None else {"images": batch}

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the quantizer prints and logs of its own steps."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
