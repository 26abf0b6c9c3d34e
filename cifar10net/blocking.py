"""``Client``: the blocking client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from cifar10net.base_client import BaseClient
from cifar10net.blocking_stream import BlockingStream
from cifar10net.channel import open_channel
from cifar10net.config import DEFAULT_IN_FLIGHT
from cifar10net.failures import client_errors
from cifar10net.hedging import hedged
from cifar10net.messages import ImageLike, ImageResult, ModelDescription, VersionState, chunks, to_dataclass
from cifar10net.pb import classifier_pb2 as pb
from cifar10net.request_options import RequestOptions
from cifar10net.server_timing import OnTiming, parse_timing
from cifar10net.statistics import ServerStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from typing import Unpack

    import grpc

    from cifar10net.request_options import Options
    from cifar10net.trace_context import Metadata


class Client(BaseClient):
    """Client of one server or of several equal ones; thread-safe. Create one and reuse it for all calls."""

    _channel: grpc.Channel
    _open_channel = staticmethod(open_channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; unfinished streams fail."""
        self._channel.close()

    def classify(
        self,
        images: Iterable[ImageLike],
        *,
        on_timing: OnTiming | None = None,
        **options: Unpack[Options],
    ) -> list[ImageResult]:
        """Classify images of any size.

        Args:
            images: paths, file bytes, Pillow images, arrays uint8 (height, width, 3), or one array
                uint8 (n, 32, 32, 3), which is the fastest.
            on_timing: called after each call with the milliseconds that its parts took in the server.
            options: ``top_k``, ``model``, ``version``, ``priority``, ``traceparent`` and ``tracestate``; see
                ``Options``.

        Returns:
            One result for each image, in order. An image that cannot be read has its ``error`` set and does
            not affect the others.

        Raises:
            ServerUnavailableError: no server answered, even after retries.
            ClientError: the server refused the call or did not answer within the deadline.
            TypeError, ValueError: an item is not an image; raised before its call is sent.
        """
        return list(self.classify_iter(images, on_timing=on_timing, **options))

    def classify_iter(
        self,
        images: Iterable[ImageLike],
        *,
        on_timing: OnTiming | None = None,
        **options: Unpack[Options],
    ) -> Generator[ImageResult, None, None]:
        """Classify like ``classify``, but read the images and yield the results one call at a time."""
        request_options = RequestOptions(**options)
        for chunk in chunks(images, self._config):
            response = None
            if chunk.is_sendable:
                request = request_options.request(chunk.images, chunk.packed_pixels)
                metadata = self._metadata(request_options, with_timing=on_timing is not None)
                with client_errors(self._server):
                    response, call = self._classify(request, metadata)
                if on_timing is not None:
                    on_timing(parse_timing(dict(call.trailing_metadata())))
            yield from chunk.results(response)

    def classify_stream(
        self,
        images: Iterable[ImageLike],
        *,
        in_flight: int = DEFAULT_IN_FLIGHT,
        **options: Unpack[Options],
    ) -> Generator[ImageResult, None, None]:
        """Classify on one stream, lazily and in order; for many images, or for images that come over time.

        A thread reads ``images`` at most ``in_flight`` images ahead of the results taken, and at most
        ``call_bytes`` bytes unless a single image is larger. When the server is unavailable or busy, the
        unanswered images are sent again on another stream, in at most ``max_attempts`` consecutive attempts;
        a server that has answered before is waited for. ``deadline_s`` limits the wait for the next answer,
        retries included, not the whole stream. Closing or dropping the generator ends the stream and its
        threads; while ``images`` blocks, its thread stays.

        Args:
            images: as for ``classify``; any number.
            in_flight: most images read whose results are not taken yet.
            options: as for ``classify``.

        Returns:
            A generator of one result for each image; not thread-safe.

        Raises:
            ServerUnavailableError, ClientError: as ``classify``, after the results before it.
            TypeError, ValueError: an item is not an image; after the results before it.
            Exception: what ``images`` raises, after the results of all images before it.
        """
        return self._stream(BlockingStream, images, in_flight, options).results(images)

    def models(self) -> list[ModelDescription]:
        """List the model versions that the server answers for, default first. Raises as ``classify``."""
        response = self._ask(self._stub.ListModels, pb.ListModelsRequest())
        return [to_dataclass(each, ModelDescription) for each in response.models]

    def versions(self) -> list[VersionState]:
        """List every version in the server's repository and its state. Raises as ``classify``."""
        response = self._ask(self._stub.ListModels, pb.ListModelsRequest())
        return [to_dataclass(each, VersionState) for each in response.versions]

    def statistics(self) -> ServerStatistics:
        """Return the server's counters since its start. Raises as ``classify``."""
        response = self._ask(self._stub.GetStatistics, pb.GetStatisticsRequest())
        return to_dataclass(response, ServerStatistics)

    def _ask(self, method: Callable[..., Any], request: object) -> Any:  # noqa: ANN401 - the method's own
        with client_errors(self._server):
            return method(request, timeout=self._config.deadline_s, metadata=self._metadata())

    def _classify(self, request: pb.ClassifyRequest, metadata: Metadata) -> tuple[pb.ClassifyResponse, Any]:
        deadline_s, hedge_after_s = self._config.deadline_s, self._config.hedge_after_s
        if not hedge_after_s:
            return self._stub.Classify.with_call(request, timeout=deadline_s, metadata=metadata)

        def begin(timeout_s: float) -> Any:  # noqa: ANN401 - gRPC's
            return self._stub.Classify.future(request, timeout=timeout_s, metadata=metadata)

        call = hedged(begin, deadline_s, hedge_after_s)
        return call.result(), call
