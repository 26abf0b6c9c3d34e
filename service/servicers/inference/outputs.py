"""What a request wants of the model's one answer, and the bytes of the response that says it.

In: the outputs that a request names, then float32 (n, classes). Out: a ModelInferResponse, its values always
in ``raw_output_contents``. It is put together from parts that are encoded once, as replies.py does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cifar10net.pb import inference_pb2 as pb
from service.errors import InvalidRequestError
from service.servicers.inference.classification import Classification
from service.servicers.inference.parameters import whole_number
from service.servicers.inference.regions import find_span
from service.servicers.replies import field, varint

if TYPE_CHECKING:
    from service.batching.queue import Probabilities
    from service.runtime.model import ModelInfo
    from service.servicers.inference.regions import Regions, Span

DATATYPE = "FP32"
_VALUE_BYTES = 4
_WORDS = "BYTES"
_LONGEST_NAME = 100
_Output = pb.ModelInferResponse.InferOutputTensor
_ID = pb.ModelInferResponse.DESCRIPTOR.fields_by_name["id"].number
_OUTPUTS = pb.ModelInferResponse.DESCRIPTOR.fields_by_name["outputs"].number
_RAW = pb.ModelInferResponse.DESCRIPTOR.fields_by_name["raw_output_contents"].number
_SHAPE = _Output.DESCRIPTOR.fields_by_name["shape"].number


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the answer is wanted; with neither of the two, all of it in the response."""

    classes: int = 0
    """So many classes of each image in words; 0 is the probabilities of all."""
    span: Span | None = None
    """Where in shared memory."""


_PLAIN = Wanted()


def read_wanted(request: pb.ModelInferRequest, info: ModelInfo, n: int, regions: Regions | None) -> Wanted:
    """Read the outputs of a request for ``n`` images.

    Raises:
        InvalidRequestError: they are not the model's one, or its parameters make no sense.
        UnknownRegionError, DisabledError: see ``find_span``.
    """
    if not request.outputs:
        return _PLAIN
    names = [output.name for output in request.outputs]
    for index, name in enumerate(names):
        if name != info.output_name:
            raise InvalidRequestError(
                f"outputs[{index}] is {name[:_LONGEST_NAME]!r}, expected {info.output_name!r}, the one "
                f"output of model {info.name}"
            )
    if len(names) > 1:
        raise InvalidRequestError(f"output {info.output_name} is wanted {len(names)} times, expected once")
    parameters, where = request.outputs[0].parameters, f"output {info.output_name}"
    if not parameters:
        return _PLAIN
    classes = whole_number(parameters, "classification", where)
    span = find_span(parameters, where, regions)
    if classes == 0:
        raise InvalidRequestError(f"{where} has classification 0, expected at least 1")
    if classes is not None and span is not None:
        raise InvalidRequestError(
            f"{where} has classification and shared_memory_region, expected one of them"
        )
    size = n * len(info.labels) * _VALUE_BYTES
    if span is not None and span.size < size:
        raise InvalidRequestError(
            f"{where} has room for {span.size:,} bytes in shared memory, expected at least {size:,}"
        )
    return Wanted(min(classes or 0, len(info.labels)), span)


class ResponseWriter:
    """Writes the responses of one model."""

    def __init__(self, info: ModelInfo) -> None:
        """Encode what all responses of the model share."""
        self._head = pb.ModelInferResponse(
            model_name=info.name, model_version=str(info.version)
        ).SerializeToString()
        self._numbers = _Output(name=info.output_name, datatype=DATATYPE).SerializeToString()
        self._words = _Output(name=info.output_name, datatype=_WORDS).SerializeToString()
        self._classification = Classification(info.labels)
        self._plain_heads: dict[int, bytes] = {}

    def write(self, rows: Probabilities, request_id: str, wanted: Wanted) -> bytes:
        """Encode a response, or write its values to shared memory and encode the rest.

        Args:
            rows: float32 (n, classes).
            request_id: of the request.
            wanted: how it wants the answer.

        Raises:
            InvalidRequestError, UnknownRegionError: the shared memory has gone meanwhile.
        """
        if wanted.classes:
            head = self._head + _tensor(self._words, len(rows), wanted.classes)
            data = self._classification.write(rows, wanted.classes)
        else:
            head, data = self._plain_head(*rows.shape), rows.astype("<f4", copy=False).tobytes()
        if wanted.span is not None:
            wanted.span.write(data)
            head, data = (
                self._head + _tensor(self._numbers + _placed(wanted.span, len(data)), *rows.shape),
                b"",
            )
        if request_id:
            head += field(_ID, request_id.encode())
        return head + field(_RAW, data)

    def _plain_head(self, n: int, classes: int) -> bytes:
        """All of a response to ``n`` images but its id and its values."""
        head = self._plain_heads.get(n)
        if head is None:
            head = self._plain_heads[n] = self._head + _tensor(self._numbers, n, classes)
        return head


def _tensor(head: bytes, n: int, classes: int) -> bytes:
    """Encode a field ``outputs`` of the response."""
    return field(_OUTPUTS, head + field(_SHAPE, varint(n) + varint(classes)))


def _placed(span: Span, size: int) -> bytes:
    """Encode the parameters that say where the values are."""
    tensor = _Output()
    tensor.parameters["shared_memory_region"].string_param = span.region.name
    tensor.parameters["shared_memory_byte_size"].int64_param = size
    if span.offset:
        tensor.parameters["shared_memory_offset"].int64_param = span.offset
    return tensor.SerializeToString()
