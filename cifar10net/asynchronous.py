"""``AsyncClient``: the client for asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from cifar10net.asynchronous_stream import AsynchronousStream
from cifar10net.base_client import BaseClient
from cifar10net.channel import open_aio_channel
from cifar10net.config import DEFAULT_IN_FLIGHT
from cifar10net.failures import client_errors
from cifar10net.hedging import hedged_async
from cifar10net.messages import ImageLike, ImageResult, ModelDescription, VersionState, chunks, to_dataclass
from cifar10net.pb import classifier_pb2 as pb
from cifar10net.request_options import RequestOptions
from cifar10net.server_timing import OnTiming, parse_timing
from cifar10net.statistics import ServerStatistics

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
    from typing import Unpack

    import grpc.aio

    from cifar10net.pb.classifier_pb2_grpc import ClassifierAsyncStub
    from cifar10net.request_options import Options
    from cifar10net.trace_context import Metadata


class AsyncClient(BaseClient):
    """Client of one server or of several equal ones; to be created and used within one event loop."""

    _channel: grpc.aio.Channel
    _stub: ClassifierAsyncStub
    _open_channel = staticmethod(open_aio_channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; unfinished streams fail."""
        await self._channel.close()

    async def classify(
        self,
        images: Iterable[ImageLike],
        *,
        on_timing: OnTiming | None = None,
        **options: Unpack[Options],
    ) -> list[ImageResult]:
        """Classify images; arguments, result and errors as ``Client.classify``.

        Files are read and images resized in a thread, so as not to block the event loop.
        """
        request_options = RequestOptions(**options)
        results: list[ImageResult] = []
        pieces = chunks(images, self._config)
        while (chunk := await asyncio.to_thread(next, pieces, None)) is not None:
            response = None
            if chunk.is_sendable:
                request = request_options.request(chunk.images, chunk.packed_pixels)
                metadata = self._metadata(request_options, with_timing=on_timing is not None)
                with client_errors(self._server):
                    call = await self._classify(request, metadata)
                    response = await call
                    if on_timing is not None:
                        on_timing(parse_timing(dict(await call.trailing_metadata())))
            results.extend(chunk.results(response))
        return results

    def classify_stream(
        self,
        images: Iterable[ImageLike] | AsyncIterable[ImageLike],
        *,
        in_flight: int = DEFAULT_IN_FLIGHT,
        **options: Unpack[Options],
    ) -> AsyncGenerator[ImageResult, None]:
        """Classify on one stream; arguments, results and errors as ``Client.classify_stream``.

        An ordinary iterable is read in a thread, an asynchronous one in the event loop. To leave the loop
        early, close the generator (``contextlib.aclosing``): Python closes an abandoned one only later.
        """
        return self._stream(AsynchronousStream, images, in_flight, options).results(images)

    async def models(self) -> list[ModelDescription]:
        """List the model versions that the server answers for, default first. Raises as ``classify``."""
        response = await self._ask(self._stub.ListModels, pb.ListModelsRequest())
        return [to_dataclass(each, ModelDescription) for each in response.models]

    async def versions(self) -> list[VersionState]:
        """List every version in the server's repository and its state. Raises as ``classify``."""
        response = await self._ask(self._stub.ListModels, pb.ListModelsRequest())
        return [to_dataclass(each, VersionState) for each in response.versions]

    async def statistics(self) -> ServerStatistics:
        """Return the server's counters since its start. Raises as ``classify``."""
        response = await self._ask(self._stub.GetStatistics, pb.GetStatisticsRequest())
        return to_dataclass(response, ServerStatistics)

    async def _ask(self, method: Callable[..., Awaitable[Any]], request: object) -> Any:  # noqa: ANN401
        with client_errors(self._server):
            return await method(request, timeout=self._config.deadline_s, metadata=self._metadata())

    async def _classify(self, request: pb.ClassifyRequest, metadata: Metadata) -> Any:  # noqa: ANN401 - gRPC's
        """Start a call; the caller awaits it."""

        def begin(timeout_s: float) -> Any:  # noqa: ANN401
            return self._stub.Classify(request, timeout=timeout_s, metadata=metadata)

        deadline_s, hedge_after_s = self._config.deadline_s, self._config.hedge_after_s
        return await hedged_async(begin, deadline_s, hedge_after_s) if hedge_after_s else begin(deadline_s)
