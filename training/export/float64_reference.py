"""Values of a graph that do not depend on the processor: computed in float64 and rounded to float32.

Processors add in different orders, so float32 sums differ in their last digits. Float64 sums differ some
hundred million times less, which disappears when they are rounded to float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from training.evaluation.metrics import onnx_predictor

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    import onnx

    from training.evaluation.metrics import Predictor

_BATCH = 50  # images whose activations fit in memory


def activations(
    model: onnx.ModelProto, images: npt.NDArray[np.uint8]
) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """Evaluate a float graph with ONNX's reference implementation, in float64.

    Args:
        model: a float32 graph with one input.
        images: uint8 (n, 32, 32, 3).

    Yields:
        For each batch of images, the float outputs of all nodes by name, rounded to float32.
    """
    from onnx.reference import ReferenceEvaluator  # noqa: PLC0415 - not needed for training
    from onnx.reference.ops.op_max_pool import MaxPool as SlowMaxPool  # noqa: PLC0415

    class MaxPool(SlowMaxPool):
        """Faster than ONNX's Python loop over windows, which takes a second for 50 images of CIFAR10Net."""

        def _run(self, x: Any, **settings: Any) -> Any:  # type: ignore[override] # noqa: ANN401
            if _is_plain(settings):
                return (_largest_of_windows(x, settings["kernel_shape"], settings.get("strides")),)
            return super()._run(x, **settings)  # type: ignore[no-untyped-call]

    computed = {name for node in model.graph.node for name in node.output}
    evaluator = ReferenceEvaluator(_in_float64(model), new_ops=[MaxPool])
    for start in range(0, len(images), _BATCH):
        feed = {model.graph.input[0].name: images[start : start + _BATCH]}
        values: Any = evaluator.run(None, feed, intermediate=True)  # a dict by name with intermediate=True
        yield {
            name: value.astype(np.float32)
            for name, value in values.items()
            if name in computed and value.dtype == np.float64
        }


def softmax_predictor(content: bytes) -> Predictor:
    """Make a predictor that runs an ``.onnx`` in ONNX Runtime, but its final softmax in float64.

    Probabilities of an int8 graph, whose sums are integers, are then the same on every processor. A graph
    without a final softmax is run as it is. Raises as ``open_onnx``.
    """
    import onnx  # noqa: PLC0415

    whole = onnx_predictor(content)
    model = onnx.load_from_string(content)
    (output,) = model.graph.output
    last = next(node for node in model.graph.node if output.name in node.output)
    if last.op_type != "Softmax":
        return whole
    output.name = last.input[0]
    model.graph.node.remove(last)
    logits_of = onnx_predictor(model.SerializeToString())

    def predict(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        logits = logits_of(images).astype(np.float64)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares: npt.NDArray[np.float32] = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        return shares

    return predict


def _in_float64(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a graph with float64 in place of float32: weights, constants, casts."""
    from onnx import ModelProto, TensorProto, numpy_helper  # noqa: PLC0415

    wide = ModelProto()
    wide.CopyFrom(model)
    del wide.graph.value_info[:]
    attributes = [attribute for node in wide.graph.node for attribute in node.attribute]
    for attribute in attributes:
        if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.DOUBLE
    stored = (attribute.t for attribute in attributes if attribute.HasField("t"))
    for tensor in (*wide.graph.initializer, *stored):
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for output in wide.graph.output:
        output.type.tensor_type.elem_type = TensorProto.DOUBLE
    return wide


def _is_plain(settings: dict[str, Any]) -> bool:
    """Whether a pooling has no padding, no dilation, and no incomplete windows at the border."""
    return (
        settings.get("auto_pad", "NOTSET") in {"NOTSET", "VALID"}
        and not settings.get("ceil_mode")
        and not any(settings.get("pads") or [])
        and set(settings.get("dilations") or [1]) == {1}
        and len(settings["kernel_shape"]) == 2  # noqa: PLR2004
    )


def _largest_of_windows(
    x: npt.NDArray[Any], kernel: tuple[int, int], strides: tuple[int, int] | None
) -> npt.NDArray[Any]:
    """Max-pool (n, channels, h, w)."""
    down, right = strides or (1, 1)
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))
    largest: npt.NDArray[Any] = windows[:, :, ::down, ::right].max(axis=(-2, -1))
    return largest
