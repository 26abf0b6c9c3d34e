"""``inside.onnx``: the same model, that also tells what comes out of each layer.

In: an exported float32 ``.onnx``. Out: a file to lie beside it, with outputs for the layers and their weights
and the table of the layers in its metadata. The page of ``service/web`` looks inside networks by it. It names
the very model that it was made from, and is kept only if it answers as that one does.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from training.errors import CheckpointError, ExportError, MissingPackageError
from training.export.golden import draw
from training.onnx_graph.onnx_layers import layers_of

if TYPE_CHECKING:
    import onnx

    from training.onnx_graph.onnx_layers import OnnxLayer

INSIDE_NAME = "inside.onnx"
FORMAT = 1
LAYER = "layer/"
"""Before the name of a layer: the output that tells what it gives."""
WEIGHTS = "weights/"
"""Likewise: the output that tells what it multiplies by."""
TOLERANCE = 1e-5
"""Largest difference of a probability; runtimes join operators otherwise where they have to tell more."""
_COMPARED = 64


def look_inside(content: bytes) -> bytes:
    """Make the file that tells the layers.

    Args:
        content: of ``model.onnx``.

    Returns:
        Content of ``inside.onnx``; the same for the same model.

    Raises:
        CheckpointError: the model is damaged, or has operators whose layers are not understood.
        ExportError: what was made would not answer as the model does.
        MissingPackageError: onnx or onnxruntime is not installed.
    """
    try:
        import onnx  # noqa: PLC0415 - as in the export: training itself runs without it
        import onnxruntime  # noqa: F401, PLC0415
    except ImportError as error:
        raise MissingPackageError(str(error.name), "cpu,train") from error
    try:
        model = onnx.load_from_string(content)
    except Exception as error:  # protobuf's own types share no base but Exception
        raise CheckpointError(f"this is not a readable ONNX model ({error})") from error
    layers = layers_of(model)
    inside = _with_outputs(model, layers)
    told = {item.key: item.value for item in model.metadata_props}
    del inside.metadata_props[:]
    for key, value in {
        "format": str(FORMAT),
        "model": told.get("model", ""),
        "labels": told.get("labels", ""),
        "model_sha256": sha256(content).hexdigest(),
        "layers": json.dumps([_row(layer, inside) for layer in layers], separators=(",", ":")),
    }.items():
        inside.metadata_props.add(key=key, value=value)
    made = inside.SerializeToString(deterministic=True)
    _compare(content, made)
    return made


def _with_outputs(model: onnx.ModelProto, layers: list[OnnxLayer]) -> onnx.ModelProto:
    """Add an output a layer, and one for the weights of each that has some."""
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
    sight = layer.sight
    return {
        "name": layer.name,
        "kind": layer.kind,
        "output_shape": layer.shape,
        "kernel": layer.kernel,
        "stride": layer.stride,
        "padding": layer.padding,
        "parameters": layer.parameters,
        "multiply_adds": layer.multiply_adds,
        "receptive_field": None if sight is None else sight.size,
        "receptive_stride": None if sight is None else sight.stride,
        "receptive_start": None if sight is None else sight.start,
        "weights_shape": None if layer.weights is None else shapes[layer.weights],
    }


def _compare(model: bytes, inside: bytes) -> None:
    """Check on drawn images that both answer alike. Raises ExportError."""
    import onnxruntime  # noqa: PLC0415

    images = draw(_COMPARED)
    answers = []
    for content in (model, inside):
        session: Any = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        outputs, pixels = session.get_outputs(), session.get_inputs()[0]
        answers.append(session.run([outputs[0].name], {pixels.name: images})[0])
    difference = float(np.abs(answers[0] - answers[1]).max())
    if not difference <= TOLERANCE:
        raise ExportError(
            f"the model and what was made to look inside it differ by {difference:.1e} on {_COMPARED} "
            f"images, wanted at most {TOLERANCE:.0e}; nothing was written"
        )
