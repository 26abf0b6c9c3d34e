"""A server that follows a test's script, with one line for each stream.

The class of an image is its first byte, so an answer shows which image it belongs to.
"""

from __future__ import annotations

import threading
from concurrent import futures
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from cifar10net.pb import classifier_pb2 as pb
from cifar10net.pb import classifier_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Line = Callable[[Iterator[pb.ClassifyStreamRequest], Any], Iterator[pb.ClassifyStreamResponse]]


def numbered(n: int) -> list[np.ndarray]:
    """Return images with the classes 0, 1, 2 and so on, modulo 256."""
    return [np.full((32, 32, 3), number % 256, np.uint8) for number in range(n)]


def pixels_of(request: pb.ClassifyRequest) -> list[bytes]:
    """Return the bytes of each image in a request."""
    if request.images:
        return [image.pixels or image.encoded for image in request.images]
    packed = request.packed_pixels
    return [packed[start : start + 3072] for start in range(0, len(packed), 3072)]


def answer(request: pb.ClassifyRequest) -> pb.ClassifyResponse:
    """Answer each image with its first byte."""
    results = [
        pb.ImageResult(prediction=pb.Prediction(classes=[pb.ClassScore(index=pixels[0], probability=1)]))
        for pixels in pixels_of(request)
    ]
    return pb.ClassifyResponse(model="script", version="1", results=results)


def reply(envelope: pb.ClassifyStreamRequest) -> pb.ClassifyStreamResponse:
    """Answer a message of a stream."""
    return pb.ClassifyStreamResponse(id=envelope.id, response=answer(envelope.request))


def refuse(
    envelope: pb.ClassifyStreamRequest, code: grpc.StatusCode, message: str = "no"
) -> pb.ClassifyStreamResponse:
    """Refuse a message of a stream."""
    return pb.ClassifyStreamResponse(id=envelope.id, error=pb.CallError(code=code.value[0], message=message))


def echo(requests: Iterator[pb.ClassifyStreamRequest], context: Any) -> Iterator[pb.ClassifyStreamResponse]:  # noqa: ARG001
    """Answer every message."""
    yield from map(reply, requests)


def then(answers: int, code: grpc.StatusCode, pushback_ms: int | None = None) -> Line:
    """Return a line that answers so many messages and then ends with a status."""

    def line(
        requests: Iterator[pb.ClassifyStreamRequest], context: Any
    ) -> Iterator[pb.ClassifyStreamResponse]:
        for _ in range(answers):
            yield reply(next(requests))
        next(requests, None)  # leave at least one unanswered
        if pushback_ms is not None:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", str(pushback_ms)),))
        context.abort(code, "not now")

    return line


class Script(classifier_pb2_grpc.ClassifierServicer):
    """Plays one line to each stream, and the last line to all later streams."""

    def __init__(self) -> None:
        self.lines: list[Line] = [echo]
        self.streams = 0
        self.metadata: list[dict[str, Any]] = []
        self.requests: list[pb.ClassifyRequest] = []
        self.models: list[pb.Model] = []
        self.call: Callable[[pb.ClassifyRequest, Any], pb.ClassifyResponse] = lambda request, _: answer(
            request
        )
        self.ended = threading.Semaphore(0)
        """Released when a stream ends, for whatever reason."""

    def ClassifyStream(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        context.add_callback(self.ended.release)
        self.metadata.append(dict(context.invocation_metadata()))
        line = self.lines[min(self.streams, len(self.lines) - 1)]
        self.streams += 1
        return line(self._noted(request_iterator), context)

    def _noted(self, envelopes: Iterator[pb.ClassifyStreamRequest]) -> Iterator[pb.ClassifyStreamRequest]:
        for envelope in envelopes:
            self.requests.append(envelope.request)
            yield envelope

    def Classify(self, request: pb.ClassifyRequest, context: Any) -> pb.ClassifyResponse:  # noqa: N802
        self.metadata.append(dict(context.invocation_metadata()))
        self.requests.append(request)
        return self.call(request, context)

    def ListModels(self, request: Any, context: Any) -> pb.ListModelsResponse:  # noqa: N802, ARG002
        self.metadata.append(dict(context.invocation_metadata()))
        return pb.ListModelsResponse(models=self.models)

    def GetStatistics(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError


class ScriptedServer:
    """Serves a script on its own port."""

    def __init__(self, script: Script | None = None, address: str = "127.0.0.1:0") -> None:
        self.script = script or Script()
        self._pool = futures.ThreadPoolExecutor(8)
        options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
        self._server = grpc.server(self._pool, options=options)
        classifier_pb2_grpc.add_ClassifierServicer_to_server(self.script, self._server)
        port = self._server.add_insecure_port(address)
        self.address = f"{address.rpartition(':')[0]}:{port}"
        self._server.start()

    def stop(self) -> None:
        """Stop the server and cancel its calls."""
        self._server.stop(None).wait()
        self._pool.shutdown()
