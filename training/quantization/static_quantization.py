"""Static quantisation of a float32 graph to int8, by ONNX Runtime's quantizer.

The result has QuantizeLinear and DequantizeLinear nodes (QDQ): int8 weights with a scale for each output
channel, uint8 activations. Ranges are calibrated on activations that are computed in float64, so the same
images give the same bytes on every processor.
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

from training.errors import required
from training.export.float64_reference import activations
from training.onnx_graph.nodes import GraphEditor
from training.quantization.int8_graph import rewrite_for_int8

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt
    import onnx

# Operators with int8 kernels, and those that only move bytes. Softmax stays in float32.
_OPERATORS = [
    *("Conv", "Gemm", "MatMul", "Add", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool"),
    *("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Concat"),
]
LARGEST_WEIGHT = {8: 127, 7: 64}
"""The integer that a channel's largest weight becomes, by the bits of a weight."""
PORTABLE_WEIGHT_BITS = 7
"""Sums of two products cannot saturate (see ``saturation``): every processor gives the same answers."""


@dataclass(frozen=True)
class Method:
    """A calibration method, which chooses the range of an activation from observed values."""

    name: str
    kind: str
    """Name in onnxruntime.quantization.CalibrationMethod."""
    percentile: float | None = None


METHODS = (
    Method("min-max", "MinMax"),
    Method("percentile 99.999", "Percentile", 99.999),
    Method("percentile 99.99", "Percentile", 99.99),
    Method("entropy", "Entropy"),
)


@dataclass(frozen=True)
class Calibrated:
    """A graph prepared for quantisation, and the ranges of its activations."""

    model: onnx.ModelProto
    """In float32."""
    pixels: str | None
    """Tensor of unscaled pixels, which become uint8 without loss; None if there is none."""
    weight_bits: int
    ranges: Mapping[Method, Any]
    """Ranges of every activation, as onnxruntime.quantization.calibrate.TensorsData."""

    def to_int8(self, method: Method) -> onnx.ModelProto:
        """Quantise the graph with the ranges of a method."""
        from onnxruntime import quantization  # noqa: PLC0415 - not needed for training

        identity = [{"scale": np.array(1, np.float32), "zero_point": np.array(0, np.uint8)}]
        with tempfile.TemporaryDirectory() as folder, _quiet():
            ranges, path = Path(folder) / "ranges.json", Path(folder) / "int8.onnx"
            quantization.save_tensors_data(self.ranges[method], ranges)
            quantization.quantize_static(
                self.model,
                path,
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=_OPERATORS,
                per_channel=True,
                reduce_range=self.weight_bits != 8,  # noqa: PLR2004
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod[method.kind],
                extra_options={"TensorQuantOverrides": {self.pixels: identity} if self.pixels else {}},
                calibration_cache_path=ranges,
            )
            return _tidied(path, self.pixels)


def calibrate(
    model: onnx.ModelProto,
    images: npt.NDArray[np.uint8],
    methods: Sequence[Method] = METHODS,
    *,
    weight_bits: int = PORTABLE_WEIGHT_BITS,
    for_openvino: bool = False,
) -> Calibrated:
    """Prepare a model for quantisation, and calibrate the ranges of its activations.

    Args:
        model: an exported float32 model; is not changed.
        images: uint8 (n, 32, 32, 3) to calibrate on.
        methods: calibration methods.
        weight_bits: 7, or 8 for a finer grid of weights, whose products saturate on some processors.
        for_openvino: keep the exported graph, which suits OpenVINO's optimiser; otherwise ``int8_graph``
            rewrites it for the CPU provider.

    Raises:
        MissingPackageError: onnxruntime is not installed.
    """
    with required("cpu,train"):
        from onnxruntime.quantization import CalibrationMethod  # noqa: PLC0415
        from onnxruntime.quantization.calibrate import TensorsData  # noqa: PLC0415
    nodes = GraphEditor(model)
    pixels = None if for_openvino else rewrite_for_int8(nodes, LARGEST_WEIGHT[weight_bits])
    prepared = nodes.model()
    prepared.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")  # avoids a warning
    collectors = {
        method: _Extremes() if method.kind == "MinMax" else _histograms(method) for method in methods
    }
    with _quiet():
        for values in activations(prepared, images):
            for collector in collectors.values():
                collector.collect(values)
        ranges = {
            method: TensorsData(CalibrationMethod[method.kind], collector.compute_collection_result())
            for method, collector in collectors.items()
        }
    return Calibrated(prepared, pixels, weight_bits, ranges)


class _Extremes:
    """Collects the minimum and maximum of each activation, like ONNX Runtime's collectors."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[Any, Any]] = {}

    def collect(self, values: Mapping[str, npt.NDArray[np.float32]]) -> None:
        for name, value in values.items():
            low, high = self._found.get(name, (np.float32(np.inf), np.float32(-np.inf)))
            self._found[name] = min(low, value.min()), max(high, value.max())

    def compute_collection_result(self) -> dict[str, tuple[Any, Any]]:
        return self._found


def _histograms(method: Method) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Make ONNX Runtime's collector, with the bins of its own calibrators."""
    from onnxruntime.quantization.calibrate import HistogramCollector  # noqa: PLC0415

    return HistogramCollector(
        method=method.kind.lower(),
        symmetric=False,
        num_bins=128 if method.percentile is None else 2048,
        num_quantized_bins=128,
        percentile=method.percentile,
        scenario="same",
    )


def _tidied(path: Path, pixels: str | None) -> onnx.ModelProto:
    """Remove needless conversions: pixels to float and back to uint8, logits to uint8 and back to float."""
    import onnx  # noqa: PLC0415

    nodes = GraphEditor(onnx.load(path))
    for cast in [node for node in nodes.of_type("Cast") if node.output[0] == pixels]:
        for quantised in nodes.chain(cast.output[0], ["QuantizeLinear"]):
            nodes.replace(quantised, cast.input[0])
    for quantised in list(nodes.of_type("QuantizeLinear")):
        if way := nodes.chain(quantised.output[0], ["DequantizeLinear", "Softmax"]):
            nodes.reconnect(way[0].output[0], quantised.input[0])
    return nodes.model()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the output and the logs of the quantizer."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
