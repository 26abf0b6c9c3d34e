"""A float32 graph becomes one of int8 by ONNX Runtime's quantizer, with scales from images.

In: a float ``.onnx`` and the images to calibrate on. Out: the same with QuantizeLinear and DequantizeLinear
around what int8 kernels can compute (static QDQ): weights int8 with a scale for each output channel,
activations uint8. The only importer of ``onnxruntime.quantization``. Activations are computed in float64: the
same images give the same bytes on every processor. Knows nothing of accuracy.
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
from training.export.float64_reference import activations
from training.onnx_graph.nodes import Nodes
from training.quantization.int8_graph import for_int8

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt
    import onnx

# What has int8 kernels, and what only moves bytes. Softmax stays in float32.
_OPERATORS = [
    *("Conv", "Gemm", "MatMul", "Add", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool"),
    *("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Concat"),
]
LARGEST_WEIGHT = {8: 127, 7: 64}
"""The integer that a channel's largest weight becomes, by bits of a weight."""
PORTABLE_WEIGHT_BITS = 7
"""No sum of two products leaves 16 bits (``saturation``), so that every processor answers alike."""


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


@dataclass(frozen=True)
class Calibrated:
    """A graph that is ready to be quantised, and what was seen of its activations."""

    model: onnx.ModelProto
    """In float32."""
    pixels: str | None
    """The tensor of pixels that go in as the bytes they are; None if there is none."""
    weight_bits: int
    ranges: Mapping[Method, Any]
    """Of every activation, by the method that chose them: onnxruntime.quantization.calibrate.TensorsData."""

    def to_int8(self, method: Method) -> onnx.ModelProto:
        """Quantise with the ranges of a method."""
        from onnxruntime import quantization  # noqa: PLC0415 - training itself runs without it

        as_they_are = [{"scale": np.array(1, np.float32), "zero_point": np.array(0, np.uint8)}]
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
                extra_options={"TensorQuantOverrides": {self.pixels: as_they_are} if self.pixels else {}},
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
    """Prepare a model and choose the ranges of its activations, the same on every processor.

    Args:
        model: an ``.onnx`` of ours in float32; it is left as it is.
        images: uint8 (n, 32, 32, 3) to calibrate on.
        methods: ways to choose ranges.
        weight_bits: 7, or 8 for weights of a finer grid whose products saturate on some processors.
        for_openvino: keep the graph as it was exported, which OpenVINO's own optimiser wants; the CPU
            provider wants ``int8_graph``'s.

    Raises:
        MissingPackageError: onnxruntime is not installed.
    """
    try:
        from onnxruntime.quantization import CalibrationMethod  # noqa: PLC0415 - as above
        from onnxruntime.quantization.calibrate import TensorsData  # noqa: PLC0415
    except ImportError as error:
        raise MissingPackageError("onnxruntime", "cpu,train") from error
    nodes = Nodes(model)
    pixels = None if for_openvino else for_int8(nodes, LARGEST_WEIGHT[weight_bits])
    prepared = nodes.model()
    prepared.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")  # nothing to warn of
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
    """Collects the least and the greatest value of each activation, as the library's collectors do."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[Any, Any]] = {}

    def collect(self, values: Mapping[str, npt.NDArray[np.float32]]) -> None:
        for name, value in values.items():
            low, high = self._found.get(name, (np.float32(np.inf), np.float32(-np.inf)))
            self._found[name] = min(low, value.min()), max(high, value.max())

    def compute_collection_result(self) -> dict[str, tuple[Any, Any]]:
        return self._found


def _histograms(method: Method) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Make the library's own collector, with the bins that its calibrators of these methods take."""
    from onnxruntime.quantization.calibrate import HistogramCollector  # noqa: PLC0415 - as above

    return HistogramCollector(
        method=method.kind.lower(),
        symmetric=False,
        num_bins=128 if method.percentile is None else 2048,
        num_quantized_bins=128,
        percentile=method.percentile,
        scenario="same",
    )


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
