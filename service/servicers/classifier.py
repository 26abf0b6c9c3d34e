"""Service ``cifar10net.v1.Classifier``: images in, the most likely classes of each out.

A call is checked as a whole, its pictures are decoded in threads, its pixels go to the model's batcher,
and every image gets its classes or its own error, in order.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from service.config import (
    DEFAULT_TOP_K,
    IMAGE_BYTES,
    IMAGE_SIDE,
    LARGEST_TOP_K,
    MAX_CALL_IMAGES,
    ServerConfig,
)
from service.errors import (
    ImageError,
    ImageErrorCode,
    InvalidRequestError,
)
from service.images import from_encoded, from_pixels
from service.pb import classifier_pb2 as pb
from service.pb import classifier_pb2_grpc
from service.servicers.statuses import answering_errors, tolerant

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from service.admission import Admission
    from service.repository import Repository

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Classifier"].full_name
_PIECE_IMAGES = 8  # small pictures that a thread takes at a time, enough to hide the hand-over
_PIECE_BYTES = 64 << 10  # a photograph is taken alone


class ClassifierServicer(classifier_pb2_grpc.ClassifierServicer):
    """Answers ``Classify`` and ``ListModels`` from a repository."""

    def __init__(self, repository: Repository, admission: Admission, config: ServerConfig) -> None:
        self._repository = repository
        self._admission = admission
        self._limits = config.limits
        self._decode_threads = config.decode_threads
        self._decoders = ThreadPoolExecutor(config.decode_threads, thread_name_prefix="decode")

    @answering_errors
    async def Classify(  # noqa: N802 - the proto's name
        self,
        request: pb.ClassifyRequest,
        context: grpc.aio.ServicerContext[pb.ClassifyRequest, pb.ClassifyResponse],  # noqa: ARG002
    ) -> pb.ClassifyResponse:
        """Answer as the proto says."""
        n, top_k = _check(request)
        model = self._repository.get(request.model, request.version)
        with self._admission.admit(n):
            images, errors = await self._read(request, n)
            kept = [index for index in range(n) if index not in errors]
            readable = images if len(kept) == n else images[kept]
            if kept:
                answers = await model.batcher.submit(readable)
            else:
                answers = np.empty((0, len(model.info.labels)), np.float32)
        response = pb.ClassifyResponse(model=model.info.name, version=str(model.info.version))
        _add_results(response, n=n, errors=errors, answers=answers, labels=model.info.labels, top_k=top_k)
        return response

    @answering_errors
    async def ListModels(  # noqa: N802 - the proto's name
        self,
        request: pb.ListModelsRequest,  # noqa: ARG002 - it is empty
        context: grpc.aio.ServicerContext[pb.ListModelsRequest, pb.ListModelsResponse],  # noqa: ARG002
    ) -> pb.ListModelsResponse:
        """Answer as the proto says."""
        return pb.ListModelsResponse(
            models=[
                pb.Model(
                    name=info.name,
                    version=str(info.version),
                    labels=info.labels,
                    provider=info.provider,
                    is_default=info.name == self._repository.default,
                    metadata=info.metadata,
                )
                for info in self._repository.list()
            ]
        )

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register both methods; as the generated function does, but tolerant of damaged requests."""
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Classify": grpc.unary_unary_rpc_method_handler(
                self.Classify,
                request_deserializer=tolerant(pb.ClassifyRequest.FromString),
                response_serializer=pb.ClassifyResponse.SerializeToString,
            ),
            "ListModels": grpc.unary_unary_rpc_method_handler(
                self.ListModels,
                request_deserializer=tolerant(pb.ListModelsRequest.FromString),
                response_serializer=pb.ListModelsResponse.SerializeToString,
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, methods),))

    def close(self) -> None:
        """Release the decoding threads; what they have not begun is dropped."""
        self._decoders.shutdown(wait=False, cancel_futures=True)

    async def _read(
        self, request: pb.ClassifyRequest, n: int
    ) -> tuple[npt.NDArray[np.uint8], dict[int, ImageError]]:
        """Pixels uint8 (n, 32, 32, 3), undefined for the images that have an error instead."""
        shape = (n, IMAGE_SIDE, IMAGE_SIDE, 3)
        if request.packed_pixels:
            return np.frombuffer(request.packed_pixels, np.uint8).reshape(shape), {}
        images = np.empty(shape, np.uint8)
        errors: dict[int, ImageError] = {}
        encoded: list[tuple[int, bytes]] = []
        for index, image in enumerate(request.images):
            if image.WhichOneof("data") == "encoded":
                encoded.append((index, image.encoded))
            else:
                try:
                    images[index] = from_pixels(image.pixels)
                except ImageError as error:
                    errors[index] = error
        return images, errors | await self._decode_all(encoded, images)

    async def _decode_all(
        self, encoded: list[tuple[int, bytes]], images: npt.NDArray[np.uint8]
    ) -> dict[int, ImageError]:
        """Decode in all threads, but never queue more than one piece a thread.

        Pieces of a small call therefore wait for some of a large one's, not for all of them.
        """
        loop = asyncio.get_running_loop()
        pieces = _pieces(encoded)
        errors: dict[int, ImageError] = {}

        async def decode_pieces() -> None:
            for piece in pieces:
                errors.update(await loop.run_in_executor(self._decoders, self._decode, piece, images))

        await asyncio.gather(*(decode_pieces() for _ in range(min(self._decode_threads, len(encoded)))))
        return errors

    def _decode(
        self, encoded: list[tuple[int, bytes]], images: npt.NDArray[np.uint8]
    ) -> dict[int, ImageError]:
        errors = {}
        for index, data in encoded:
            try:
                images[index] = from_encoded(data, self._limits)
            except ImageError as error:
                errors[index] = error
        return errors


def _pieces(encoded: list[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Cut a call's pictures into what one thread decodes at a time."""
    piece: list[tuple[int, bytes]] = []
    size = 0
    for index, data in encoded:
        if piece and (len(piece) == _PIECE_IMAGES or size + len(data) > _PIECE_BYTES):
            yield piece
            piece, size = [], 0
        piece.append((index, data))
        size += len(data)
    if piece:
        yield piece


def _check(request: pb.ClassifyRequest) -> tuple[int, int]:
    """Return the number of images and of classes wanted. Raises InvalidRequestError."""
    packed, rest = divmod(len(request.packed_pixels), IMAGE_BYTES)
    if rest:
        raise InvalidRequestError(
            f"packed_pixels has {len(request.packed_pixels):,} bytes, expected a multiple of "
            f"{IMAGE_BYTES:,} ({IMAGE_SIDE}x{IMAGE_SIDE} RGB an image)"
        )
    if packed and request.images:
        raise InvalidRequestError("the request has images and packed_pixels, expected one of them")
    n = packed or len(request.images)
    if not 1 <= n <= MAX_CALL_IMAGES:
        raise InvalidRequestError(
            f"the request has {n:,} images, expected 1 to {MAX_CALL_IMAGES:,}; split longer lists"
        )
    top_k = request.top_k if request.HasField("top_k") else DEFAULT_TOP_K
    if not 1 <= top_k <= LARGEST_TOP_K:
        raise InvalidRequestError(f"top_k is {top_k}, expected 1 to {LARGEST_TOP_K}")
    return n, top_k


def _add_results(  # noqa: PLR0913 - the parts of a reply
    response: pb.ClassifyResponse,
    *,
    n: int,
    errors: dict[int, ImageError],
    answers: npt.NDArray[np.float32],
    labels: tuple[str, ...],
    top_k: int,
) -> None:
    """Append a result an image; ``answers`` has a row for each image without an error."""
    order = np.argsort(-answers, axis=1, kind="stable")[:, :top_k]
    best = zip(order.tolist(), np.take_along_axis(answers, order, axis=1).tolist(), strict=True)
    for index in range(n):
        result = response.results.add()
        if index in errors:
            result.error.code = _wire_code(errors[index].code)
            result.error.message = f"images[{index}] {errors[index].message}"
        else:
            add_class = result.prediction.classes.add
            for label, probability in zip(*next(best), strict=True):
                add_class(index=label, label=labels[label], probability=probability)


def _wire_code(code: ImageErrorCode) -> pb.ImageError.Code.ValueType:
    return pb.ImageError.Code.Value(f"CODE_{code.name}")
