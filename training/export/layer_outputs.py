"""``inside.onnx``: the exported model with an output for each layer, for the page of ``service/web``.

It also has outputs for the layers' weights; its metadata has the table of layers and the digest of the model
that it was made from.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from training.errors import CheckpointError, ExportError, required
from training.export.golden import draw_images
from training.onnx_graph.onnx_layers import layers_of

if TYPE_CHECKING:
    import onnx

    from training.onnx_graph.onnx_layers import OnnxLayer

LAYER_OUTPUTS_NAME = "inside.onnx"
FORMAT = 1
LAYER = "layer/"
"""Prefix of the outputs of layers."""
WEIGHTS = "weights/"
"""Prefix of the outputs of their weights."""
TOLERANCE = 1e-5
"""Largest difference of a probability; with more outputs, runtimes fuse fewer operators."""
_COMPARED = 64


def with_layer_outputs(content: bytes) -> bytes:
    """Add outputs for all layers to a model.

    Args:
        content: bytes of ``model.onnx``, a float32 model.

    Returns:
        Bytes of ``inside.onnx``; the same for the same model.

    Raises:
        CheckpointError: the model is damaged, or has unknown operators.
        ExportError: the result gives other probabilities than the model.
        MissingPackageError: onnx or onnxruntime is not installed.
    """
    with required("cpu,train"):
        import onnx  # noqa: PLC0415 - not needed for training
        import onnxruntime  # noqa: F401, PLC0415
    try:
        model = onnx.load_from_string(content)
    except Exception as error:  # protobuf's exceptions have no common base
        raise CheckpointError(f"this is not a readable ONNX model ({error})") from error
    layers = layers_of(model)
    inside = _with_outputs(model, layers)
    metadata = {item.key: item.value for item in model.metadata_props}
    del inside.metadata_props[:]
    for key, value in {
        "format": str(FORMAT),
        "model": metadata.get("model", ""),
        "labels": metadata.get("labels", ""),
        "model_sha256": sha256(content).hexdigest(),
        "layers": json.dumps([_row(layer, inside) for layer in layers], separators=(",", ":")),
    }.items():
        inside.metadata_props.add(key=key, value=value)
    made = inside.SerializeToString(deterministic=True)
    _compare(content, made)
    return made


def _with_outputs(model: onnx.ModelProto, layers: list[OnnxLayer]) -> onnx.ModelProto:
    """Add an output for each layer, and one for its weights if it has any."""
    from onnx import ModelProto, TensorProto, helper  # noqa: PLC0415

    inside = ModelProto()
    inside.CopyFrom(model)
    stored = {item.name: list(item.dims) for item in model.graph.initializer}
    for layer in layers:
        outputs: dict[str, tuple[str, list[str | int | None]]] = {
            f"{LAYER}{layer.name}": (layer.tensor, ["batch", *layer.shape])
        }
        if layer.weights is not None:
            outputs[f"{WEIGHTS}{layer.name}"] = (layer.weights, [*stored[layer.weights]])
        for name, (source, shape) in outputs.items():
            inside.graph.node.append(helper.make_node("Identity", [source], [name], name=f"tell {name}"))
            inside.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return inside


def _row(layer: OnnxLayer, inside: onnx.ModelProto) -> dict[str, Any]:
    shapes = {item.name: list(item.dims) for item in inside.graph.initializer}
    field = layer.receptive_field
    return {
        "name": layer.name,
        "kind": layer.kind,
        "output_shape": layer.shape,
        "kernel": layer.kernel,
        "stride": layer.stride,
        "padding": layer.padding,
        "parameters": layer.parameters,
        "multiply_adds": layer.multiply_adds,
        "receptive_field": None if field is None else field.size,
        "receptive_stride": None if field is None else field.stride,
        "receptive_start": None if field is None else field.start,
        "weights_shape": None if layer.weights is None else shapes[layer.weights],
    }


def _compare(model: bytes, inside: bytes) -> None:
    """Check on drawn images that both answer alike. Raises ExportError."""
    import onnxruntime  # noqa: PLC0415

    images = draw_images(_COMPARED)
    answers = []
    for content in (model, inside):
        session: Any = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        outputs, pixels = session.get_outputs(), session.get_inputs()[0]
        answers.append(session.run([outputs[0].name], {pixels.name: images})[0])
    difference = float(np.abs(answers[0] - answers[1]).max())
    if not difference <= TOLERANCE:
        raise ExportError(
            f"the model and its {LAYER_OUTPUTS_NAME} differ by {difference:.1e} on {_COMPARED} "
            f"images, wanted at most {TOLERANCE:.0e}; nothing was written"
        )
