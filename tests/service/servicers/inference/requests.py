"""Build requests of the Open Inference Protocol, and read responses, without any of its clients."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from cifar10net.pb import inference_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVICE = "/inference.GRPCInferenceService"
CLASSES = 3
"""Number of classes of the models in these tests."""


def infer_request(images: np.ndarray, model: str = "colours", **more: Any) -> pb.ModelInferRequest:
    """Ask for all probabilities of some images."""
    tensor = pb.ModelInferRequest.InferInputTensor(name="images", datatype="UINT8", shape=images.shape)
    fields = {"inputs": [tensor], "raw_input_contents": [images.tobytes()], **more}
    return pb.ModelInferRequest(model_name=model, **fields)


def parameters(values: Mapping[str, Any]) -> dict[str, pb.InferParameter]:
    """Make parameters of bool, int and str values."""
    fields = {bool: "bool_param", int: "int64_param", str: "string_param"}
    return {name: pb.InferParameter(**{fields[type(value)]: value}) for name, value in values.items()}


def output(name: str = "probabilities", /, **values: Any) -> pb.ModelInferRequest.InferRequestedOutputTensor:
    """Request an output with these parameters."""
    return pb.ModelInferRequest.InferRequestedOutputTensor(name=name, parameters=parameters(values))


def numbers(response: pb.ModelInferResponse) -> np.ndarray:
    """Read the probabilities of a response: float32 (n, classes)."""
    (tensor,), (raw,) = response.outputs, response.raw_output_contents
    assert (tensor.name, tensor.datatype) == ("probabilities", "FP32")
    return np.frombuffer(raw, "<f4").reshape(tensor.shape)


def strings(response: pb.ModelInferResponse) -> list[list[str]]:
    """Read the classifications of a response, a list per image."""
    (tensor,), (raw,) = response.outputs, response.raw_output_contents
    assert (tensor.name, tensor.datatype) == ("probabilities", "BYTES")
    found, position = [], 0
    while position < len(raw):
        (size,) = struct.unpack_from("<I", raw, position)
        found.append(raw[position + 4 : position + 4 + size].decode())
        position += 4 + size
    n, classes = tensor.shape
    assert len(found) == n * classes
    return [found[start : start + classes] for start in range(0, len(found), classes)]
