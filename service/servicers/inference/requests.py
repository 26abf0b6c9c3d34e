"""The messages of ModelInfer and ModelStreamInfer, and what holds for a request as a whole.

In: bytes. Out: a ModelInferRequest that costs no more than it should; how urgent it is and until when it is
wanted. Knows nothing of tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar10net.pb import inference_pb2 as pb
from cifar10net.protocol import IMAGE_BYTES
from service.batching.batcher import Priority
from service.errors import InvalidRequestError
from service.servicers.inference.parameters import whole_number
from service.servicers.parsing import Limits, check_fields, parse

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

MOST_CONTENTS_IMAGES = 256
"""Of values that come one by one, which hold the event loop for about 0.15 ms an image."""

_SMALL_BYTES = 8 << 10  # of a message that cannot take much memory, whatever is in it
_MOST_FIELDS = 1_000
_SOME_BYTES = 1 << 10
_LONGEST_VALUE_BYTES = 2  # of 0 to 255


def _numbers(kind: Descriptor) -> dict[str, int]:
    return {field.name: field.number for field in kind.fields}


_CONTENTS = _numbers(pb.InferTensorContents.DESCRIPTOR)
_INPUT = _numbers(pb.ModelInferRequest.InferInputTensor.DESCRIPTOR)
_REQUEST = _numbers(pb.ModelInferRequest.DESCRIPTOR)
_LIMITS = Limits(
    pb.ModelInferRequest.DESCRIPTOR,
    within={
        _REQUEST["inputs"]: Limits(
            pb.ModelInferRequest.InferInputTensor.DESCRIPTOR,
            most_bytes={_INPUT["shape"]: _SOME_BYTES},
            within={
                _INPUT["contents"]: Limits(
                    pb.InferTensorContents.DESCRIPTOR,
                    most_bytes=dict.fromkeys(_CONTENTS.values(), _SOME_BYTES)
                    | {_CONTENTS["uint_contents"]: MOST_CONTENTS_IMAGES * IMAGE_BYTES * _LONGEST_VALUE_BYTES},
                )
            },
        ),
        _REQUEST["outputs"]: Limits(pb.ModelInferRequest.InferRequestedOutputTensor.DESCRIPTOR),
    },
)


def parse_request(message: bytes) -> pb.ModelInferRequest:
    """Parse a request, unless it would take far more memory than its bytes. Raises InvalidRequestError."""
    if len(message) > _SMALL_BYTES:
        check_fields(message, _LIMITS, _MOST_FIELDS)
    return parse(pb.ModelInferRequest, message)


def required_name(name: str) -> str:
    """Check the name of a model. Raises InvalidRequestError."""
    if not name:
        raise InvalidRequestError(
            "the request names no model, expected one; RepositoryIndex tells their names"
        )
    return name


def priority_of(request: pb.ModelInferRequest) -> Priority:
    """Read its ``priority``: 1 is the most urgent, as is 0, the default. Raises InvalidRequestError."""
    level = whole_number(request.parameters, "priority", "the request")
    return Priority.BULK if level is not None and level > 1 else Priority.INTERACTIVE


def deadline_of(request: pb.ModelInferRequest, began_s: float, call_deadline_s: float | None) -> float | None:
    """Tell until when an answer is wanted: by its ``timeout`` or the call's deadline, whichever is earlier.

    Args:
        request: may have a ``timeout``, in microseconds; 0 is none.
        began_s: when it was looked at, in the event loop's time.
        call_deadline_s: of its call.

    Raises:
        InvalidRequestError: the timeout is no number.
    """
    timeout_us = whole_number(request.parameters, "timeout", "the request")
    if not timeout_us:
        return call_deadline_s
    deadline_s = began_s + timeout_us / 1e6
    return deadline_s if call_deadline_s is None else min(deadline_s, call_deadline_s)
