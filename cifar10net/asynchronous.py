"""``AsyncClient``: the same for asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from cifar10net.asynchronous_stream import AsynchronousStream
from cifar10net.blocking import WISH, OnTiming
from cifar10net.channel import metadata, open_aio_channel
from cifar10net.channel_options import options
from cifar10net.config import DEFAULT_IN_FLIGHT, ClientConfig
from cifar10net.failures import client_errors
from cifar10net.hedging import hedged_async
from cifar10net.messages import (
    ImageLike,
    ImageResult,
    ModelDescription,
    VersionState,
    check_list,
    chunks,
    describe_models,
    describe_versions,
)
from cifar10net.pb import classifier_pb2 as pb
from cifar10net.pb import classifier_pb2_grpc
from cifar10net.protocol import DEFAULT_SERVER
from cifar10net.request_options import Question, check_in_flight
from cifar10net.server_timing import read
from cifar10net.statistics import ServerStatistics, describe_statistics
from cifar10net.trace_context import Metadata, trace_metadata

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Sequence
    from typing import Unpack

    from cifar10net.request_options import Options


class AsyncClient:
    """Asks one server, or several alike, from asyncio; to be made and used within one event loop."""

    def __init__(
        self, server: str | Sequence[str] = DEFAULT_SERVER, config: ClientConfig | None = None
    ) -> None:
        """Prepare to ask; arguments and errors as ``Client``."""
        self._server = server if isinstance(server, str) else ",".join(server)
        self._config = config or ClientConfig()
        self._channel = open_aio_channel(
            self._server, self._config.access, options(self._server, self._config)
        )
        self._metadata = metadata(self._config.access)
        self._stub = classifier_pb2_grpc.ClassifierStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; streams that are not at their end fail."""
        await self._channel.close()

    async def classify(
        self,
        images: Iterable[ImageLike],
        *,
        on_timing: OnTiming | None = None,
        **asked: Unpack[Options],
    ) -> list[ImageResult]:
        """Classify pictures; arguments, result and errors as ``Client.classify``.

        Files are read and pictures reduced in a thread, so that the event loop goes on.
        """
        question = Question(**asked)
        wish = () if on_timing is None else WISH
        results: list[ImageResult] = []
        pieces = chunks(images, self._config)
        while (chunk := await asyncio.to_thread(next, pieces, None)) is not None:
            response = None
            if chunk.is_sendable:
                request = question.request(chunk.images, chunk.packed_pixels)
                sent = (*self._metadata, *trace_metadata(question), *wish)
                with client_errors(self._server):
                    call = await self._classify(request, sent)
                    response = await call
                    if on_timing is not None:
                        on_timing(read(dict(await call.trailing_metadata())))
            results.extend(chunk.results(response))
        return results

    def classify_stream(
        self,
        images: Iterable[ImageLike] | AsyncIterable[ImageLike],
        *,
        in_flight: int = DEFAULT_IN_FLIGHT,
        **asked: Unpack[Options],
    ) -> AsyncGenerator[ImageResult, None]:
        """Classify on one stream; arguments, results and errors as ``Client.classify_stream``.

        An ordinary iterable is read in a thread, an asynchronous one in the loop. To leave early, close
        the generator (``contextlib.aclosing``): Python drops one that was left some time later.
        """
        check_list(images)
        check_in_flight(in_flight)
        question = Question(**asked)
        sent = (*self._metadata, *trace_metadata(question))
        stream = AsynchronousStream(
            lambda requests, waits: self._stub.ClassifyStream(requests, metadata=sent, wait_for_ready=waits),
            self._server,
            question,
            self._config,
            in_flight,
        )
        return stream.results(images)

    async def models(self) -> list[ModelDescription]:
        """List the models that the server answers for, default first. Raises as ``classify``."""
        return describe_models(await self._ask(self._stub.ListModels, pb.ListModelsRequest()))

    async def versions(self) -> list[VersionState]:
        """List every version in the server's repository, and how it is. Raises as ``classify``."""
        return describe_versions(await self._ask(self._stub.ListModels, pb.ListModelsRequest()))

    async def statistics(self) -> ServerStatistics:
        """Ask what the server has done since it started. Raises as ``classify``."""
        return describe_statistics(await self._ask(self._stub.GetStatistics, pb.GetStatisticsRequest()))

    async def _ask(self, method: Callable[..., Awaitable[Any]], request: object) -> Any:  # noqa: ANN401
        with client_errors(self._server):
            return await method(
                request, timeout=self._config.deadline_s, metadata=(*self._metadata, *trace_metadata())
            )

    async def _classify(self, request: pb.ClassifyRequest, sent: Metadata) -> Any:  # noqa: ANN401 - gRPC's
        """Begin a call, which is not awaited yet."""

        def begin(timeout_s: float) -> Any:  # noqa: ANN401
            return self._stub.Classify(request, timeout=timeout_s, metadata=sent)

        deadline_s, hedge_after_s = self._config.deadline_s, self._config.hedge_after_s
        return await hedged_async(begin, deadline_s, hedge_after_s) if hedge_after_s else begin(deadline_s)
