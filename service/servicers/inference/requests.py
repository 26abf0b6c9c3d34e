"""Parse a ModelInferRequest and read its priority and timeout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar10net.pb import inference_pb2 as pb
from cifar10net.protocol import IMAGE_BYTES
from service.batching.batcher import Priority
from service.errors import InvalidRequestError
from service.servicers.inference.parameters import int_parameter
from service.servicers.parsing import FieldLimits, check_fields, parse

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

MOST_CONTENTS_IMAGES = 256
"""With their values in ``contents``, where reading them blocks the event loop for about 0.15 ms an image."""

_SMALL_BYTES = 8 << 10  # a shorter message cannot take much memory
_MAX_FIELDS = 1_000
_MAX_SHORT_FIELD_BYTES = 1 << 10
_MAX_VARINT_BYTES = 2  # of 0 to 255


def _numbers(kind: Descriptor) -> dict[str, int]:
    return {field.name: field.number for field in kind.fields}


_CONTENTS = _numbers(pb.InferTensorContents.DESCRIPTOR)
_INPUT = _numbers(pb.ModelInferRequest.InferInputTensor.DESCRIPTOR)
_REQUEST = _numbers(pb.ModelInferRequest.DESCRIPTOR)
_LIMITS = FieldLimits(
    pb.ModelInferRequest.DESCRIPTOR,
    nested={
        _REQUEST["inputs"]: FieldLimits(
            pb.ModelInferRequest.InferInputTensor.DESCRIPTOR,
            max_bytes={_INPUT["shape"]: _MAX_SHORT_FIELD_BYTES},
            nested={
                _INPUT["contents"]: FieldLimits(
                    pb.InferTensorContents.DESCRIPTOR,
                    max_bytes=dict.fromkeys(_CONTENTS.values(), _MAX_SHORT_FIELD_BYTES)
                    | {_CONTENTS["uint_contents"]: MOST_CONTENTS_IMAGES * IMAGE_BYTES * _MAX_VARINT_BYTES},
                )
            },
        ),
        _REQUEST["outputs"]: FieldLimits(pb.ModelInferRequest.InferRequestedOutputTensor.DESCRIPTOR),
    },
)


def parse_request(message: bytes) -> pb.ModelInferRequest:
    """Parse a request; refuse one that would take far more memory than its bytes.

    Raises:
        InvalidRequestError: the message is refused, or is not a ModelInferRequest.
    """
    if len(message) > _SMALL_BYTES:
        check_fields(message, _LIMITS, _MAX_FIELDS)
    return parse(pb.ModelInferRequest, message)


def required_name(name: str) -> str:
    """Return the name of a model. Raises InvalidRequestError if it is empty."""
    if not name:
        raise InvalidRequestError("the request names no model, expected a name; RepositoryIndex lists them")
    return name


def priority_of(request: pb.ModelInferRequest) -> Priority:
    """Read the parameter ``priority``: bulk if above 1. Raises InvalidRequestError."""
    level = int_parameter(request.parameters, "priority", "the request")
    return Priority.BULK if level is not None and level > 1 else Priority.INTERACTIVE


def effective_deadline(
    request: pb.ModelInferRequest, now_s: float, call_deadline_s: float | None
) -> float | None:
    """Return the deadline of the request's ``timeout`` or of its call, whichever is earlier.

    Args:
        request: its parameter ``timeout`` is in microseconds; 0 is none.
        now_s: the event loop's time, as is the deadline.
        call_deadline_s: the deadline of the call, if it has one.

    Raises:
        InvalidRequestError: the timeout is not a number of 0 or more.
    """
    timeout_us = int_parameter(request.parameters, "timeout", "the request")
    if not timeout_us:
        return call_deadline_s
    deadline_s = now_s + timeout_us / 1e6
    return deadline_s if call_deadline_s is None else min(deadline_s, call_deadline_s)
