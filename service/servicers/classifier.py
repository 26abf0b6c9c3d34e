"""Service ``cifar10net.v1.Classifier``: images in, the most likely classes of each out.

A request is checked as a whole and its pictures are decoded in threads; the pixels go to the model's batcher.
Every image gets its classes or its own error, in order.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from cifar10net.pb import classifier_pb2 as pb
from cifar10net.protocol import DEFAULT_TOP_K, IMAGE_BYTES, IMAGE_SIDE, LARGEST_TOP_K, MAX_CALL_IMAGES
from service.batching.batcher import Priority
from service.errors import InvalidRequestError
from service.observability import server_timing
from service.observability.observers import Observer, Request
from service.rpc.method import Method
from service.servicers.parsing import count_elements, parse
from service.servicers.replies import ClassifyResponseWriter, encode_field
from service.servicers.streaming import PipelinedStream

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from cifar10net.errors import ImageError
    from service.batching.admission import Admission
    from service.batching.queue import Probabilities
    from service.repository import Repository, ServedModel
    from service.rpc.context import StreamContext, UnaryContext
    from service.rpc.status import Status
    from service.servicers.decoding import Decoder

_Message = TypeVar("_Message", bound="Message")
SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Classifier"].full_name


class ClassifierServicer:
    """``Classify``, ``ClassifyStream`` and ``ListModels`` for the models of a repository."""

    def __init__(
        self,
        repository: Repository,
        admission: Admission,
        decoder: Decoder,
        observer: Observer | None = None,
        max_call_images: int = MAX_CALL_IMAGES,
    ) -> None:
        """Serve a repository and notify ``observer`` of each request.

        All protocols share ``admission``, so that its limit is the server's.
        """
        self._repository = repository
        self._admission = admission
        self._decoder = decoder
        self._observer = observer or Observer()
        self._max_images = max_call_images

    def methods(self) -> tuple[Method, ...]:
        """Return the RPC methods."""
        return (
            Method(f"/{SERVICE_NAME}/Classify", unary=self.classify),
            Method(f"/{SERVICE_NAME}/ClassifyStream", stream=self.classify_stream),
            Method(f"/{SERVICE_NAME}/ListModels", unary=self.list_models),
        )

    async def classify(self, message: bytes, context: UnaryContext) -> bytes:
        """Classify images, or refuse the call if the server is full."""
        with Request(self._observer, context) as observed:
            request = _parse(pb.ClassifyRequest, (_IMAGES,), message)
            del message  # up to 32 MiB, and all of it is in the request
            response = await self._classify(request, observed, context.deadline_s, waits=False)
            if server_timing.REQUEST_KEY in context.metadata:
                context.trailing_metadata = server_timing.trailer(observed)
            return response

    async def classify_stream(self, context: StreamContext) -> None:
        """Classify request after request; each waits while the server is full."""
        parse_message = partial(_parse, pb.ClassifyStreamRequest, (_REQUEST, _IMAGES))
        await PipelinedStream(context, parse_message, self._classify_message, _encode_error).run()

    async def list_models(self, message: bytes, context: UnaryContext) -> bytes:  # noqa: ARG002 - as every handler
        """Describe the models that are served, and list every version in the repository."""
        parse(pb.ListModelsRequest, message)
        infos = self._repository.list()
        models = [
            pb.Model(
                name=info.name,
                version=str(info.version),
                labels=info.labels,
                provider=info.provider,
                is_default=info is infos[0] and info.name == self._repository.default,
                metadata=info.metadata,
            )
            for info in infos
        ]
        versions = [
            pb.VersionState(
                name=entry.name, version=str(entry.version), state=entry.state, reason=entry.reason
            )
            for entry in self._repository.index()
        ]
        return pb.ListModelsResponse(models=models, versions=versions).SerializeToString()

    async def _classify_message(self, message: pb.ClassifyStreamRequest, context: StreamContext) -> bytes:
        if not message.HasField("request"):
            raise InvalidRequestError("the message has no request; set the field request")
        with Request(self._observer, context) as observed:
            response = await self._classify(message.request, observed, context.deadline_s, waits=True)
        return pb.ClassifyStreamResponse(id=message.id).SerializeToString() + encode_field(
            _RESPONSE, response
        )

    async def _classify(
        self, request: pb.ClassifyRequest, observed: Request, deadline_s: float | None, *, waits: bool
    ) -> bytes:
        n, top_k = _check(request, self._max_images)
        observed.images = n
        with self._repository.get(request.model, request.version) as model:
            observed.model = model.info
            if waits:
                await self._admission.wait_for_capacity(n)
            with self._admission.admit(n):
                probabilities, errors = await self._run(model, request, observed, deadline_s)
                return model.writer(ClassifyResponseWriter).write(probabilities, errors, n, top_k)

    async def _run(
        self, model: ServedModel, request: pb.ClassifyRequest, observed: Request, deadline_s: float | None
    ) -> tuple[Probabilities, dict[int, ImageError]]:
        """Decode the images; return the probabilities of those that could be read, and the others' errors."""
        n, priority = observed.images, _PRIORITIES[request.priority]
        if request.images and deadline_s is not None:  # do not decode pictures that would miss it
            model.sessions.check_deadline(n, deadline_s, priority)
        images, errors = await self._decoder.read(request, n, observed)
        observed.bad_images = len(errors)
        kept = images[[index for index in range(n) if index not in errors]] if errors else images
        if not len(kept):
            return np.empty((0, len(model.info.labels)), np.float32), errors
        probabilities = await model.batcher.submit(
            kept, deadline_s=deadline_s, priority=priority, timing=observed
        )
        return probabilities, errors


_IMAGES = pb.ClassifyRequest.DESCRIPTOR.fields_by_name["images"].number
_REQUEST = pb.ClassifyStreamRequest.DESCRIPTOR.fields_by_name["request"].number
_RESPONSE = pb.ClassifyStreamResponse.DESCRIPTOR.fields_by_name["response"].number
_PRIORITIES = {
    pb.PRIORITY_UNSPECIFIED: Priority.INTERACTIVE,
    pb.PRIORITY_INTERACTIVE: Priority.INTERACTIVE,
    pb.PRIORITY_BULK: Priority.BULK,
}


def _parse(kind: type[_Message], images: tuple[int, ...], message: bytes) -> _Message:
    """Parse a message unless it has too many ``images``, given as the path of field numbers to them."""
    if count_elements(message, images, MAX_CALL_IMAGES) > MAX_CALL_IMAGES:
        raise InvalidRequestError(
            f"the request has more than {MAX_CALL_IMAGES:,} images, expected at most that many; split it"
        )
    return parse(kind, message)


def _encode_error(request: pb.ClassifyStreamRequest | None, status: Status) -> bytes:
    error = pb.CallError(code=status.code, message=status.message)
    return pb.ClassifyStreamResponse(id=request.id if request else "", error=error).SerializeToString()


def _check(request: pb.ClassifyRequest, max_images: int) -> tuple[int, int]:
    """Return the number of images and ``top_k``. Raises InvalidRequestError."""
    packed_bytes = len(request.packed_pixels)
    packed, rest = divmod(packed_bytes, IMAGE_BYTES)
    if rest:
        raise InvalidRequestError(
            f"packed_pixels has {packed_bytes:,} bytes, expected a multiple of "
            f"{IMAGE_BYTES:,} ({IMAGE_SIDE}x{IMAGE_SIDE} RGB an image)"
        )
    if packed and request.images:
        raise InvalidRequestError("the request has images and packed_pixels, expected one of them")
    n = packed or len(request.images)
    if not 1 <= n <= max_images:
        raise InvalidRequestError(
            f"the request has {n:,} images, expected 1 to {max_images:,}; split longer lists"
        )
    top_k = request.top_k if request.HasField("top_k") else DEFAULT_TOP_K
    if not 1 <= top_k <= LARGEST_TOP_K:
        raise InvalidRequestError(f"top_k is {top_k}, expected 1 to {LARGEST_TOP_K}")
    if request.priority not in _PRIORITIES:
        known = ", ".join(f"{number} ({pb.Priority.Name(number)})" for number in _PRIORITIES)
        raise InvalidRequestError(f"priority is {request.priority}, expected one of {known}")
    return n, top_k
