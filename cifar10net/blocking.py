"""``Client``: asks a server from ordinary code, in calls or on a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeAlias

from cifar10net.blocking_stream import BlockingStream
from cifar10net.channel import metadata, open_channel
from cifar10net.channel_options import options
from cifar10net.config import DEFAULT_IN_FLIGHT, ClientConfig
from cifar10net.failures import client_errors
from cifar10net.hedging import hedged
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
from cifar10net.protocol import DEFAULT_SERVER, TIMING_REQUEST_KEY
from cifar10net.request_options import Question, check_in_flight
from cifar10net.server_timing import read
from cifar10net.statistics import ServerStatistics, describe_statistics
from cifar10net.trace_context import Metadata, trace_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from typing import Unpack

    from cifar10net.request_options import Options

OnTiming: TypeAlias = "Callable[[dict[str, float]], None]"
"""Is told of each call how long its parts took in the server: decode, queue, batch, compute, total, in
milliseconds; those that did not happen are left out."""
WISH = ((TIMING_REQUEST_KEY, "1"),)


class Client:
    """Asks one server, or several alike; to be made once rather than for each call, and shared by threads."""

    def __init__(
        self, server: str | Sequence[str] = DEFAULT_SERVER, config: ClientConfig | None = None
    ) -> None:
        """Prepare to ask; connections are made by the first call.

        Args:
            server: ``host:port``. Those that DNS knows for a host's name, or that a list of IP addresses
                names, are asked in turns.
            config: deadline, attempts, limits, and how to be let in.

        Raises:
            ConfigError: ``server`` is no ``host:port``, or a file for TLS cannot be read.
        """
        self._server = server if isinstance(server, str) else ",".join(server)
        self._config = config or ClientConfig()
        self._channel = open_channel(self._server, self._config.access, options(self._server, self._config))
        self._metadata = metadata(self._config.access)
        self._stub = classifier_pb2_grpc.ClassifierStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; streams that are not at their end fail."""
        self._channel.close()

    def classify(
        self,
        images: Iterable[ImageLike],
        *,
        on_timing: OnTiming | None = None,
        **asked: Unpack[Options],
    ) -> list[ImageResult]:
        """Classify pictures of any size.

        Args:
            images: paths, file bytes, Pillow images, arrays uint8 (height, width, 3), or an array
                uint8 (n, 32, 32, 3), which is the fastest form.
            on_timing: is told of each call how long its parts took in the server.
            asked: ``top_k``, ``model``, ``version``, ``priority``, ``traceparent`` and ``tracestate``, as
                ``Options`` explains.

        Returns:
            A result an image, in order. A picture that cannot be read has its ``error`` set and
            leaves the others as they are.

        Raises:
            ServerUnavailableError: nobody answered, also after retries.
            ClientError: the server refused the call or did not answer within the deadline.
            TypeError, ValueError: an item is no kind of image, before its call is sent.
        """
        return list(self.classify_iter(images, on_timing=on_timing, **asked))

    def classify_iter(
        self,
        images: Iterable[ImageLike],
        *,
        on_timing: OnTiming | None = None,
        **asked: Unpack[Options],
    ) -> Generator[ImageResult, None, None]:
        """Classify as ``classify`` does, reading and answering call by call in flat memory."""
        question = Question(**asked)
        wish = () if on_timing is None else WISH
        for chunk in chunks(images, self._config):
            response = None
            if chunk.is_sendable:
                request = question.request(chunk.images, chunk.packed_pixels)
                sent = (*self._metadata, *trace_metadata(question), *wish)
                with client_errors(self._server):
                    response, call = self._classify(request, sent)
                if on_timing is not None:
                    on_timing(read(dict(call.trailing_metadata())))
            yield from chunk.results(response)

    def classify_stream(
        self,
        images: Iterable[ImageLike],
        *,
        in_flight: int = DEFAULT_IN_FLIGHT,
        **asked: Unpack[Options],
    ) -> Generator[ImageResult, None, None]:
        """Classify on one stream, lazily and in order: the cheapest way for many images over a long time.

        A thread of this client's reads ``images``, at most ``in_flight`` images (and ``call_bytes`` bytes,
        unless one image alone is larger) ahead of the results that were taken. What is unanswered is sent
        again on another stream when the server was unavailable or busy, ``max_attempts`` times in a row at
        most; one that has answered before and is gone is waited for. ``deadline_s`` is for the next answer,
        all of this included, not for the stream. To close the generator early, or to
        drop it, ends the stream and its threads; a reader whose ``images`` block ends when they go on.

        Args:
            images: as for ``classify``; of any number.
            in_flight: most images that were read and whose results were not taken yet.
            asked: as for ``classify``.

        Returns:
            A generator of results, one an image; for one thread at a time.

        Raises:
            ServerUnavailableError, ClientError: as ``classify``, after the results before it.
            TypeError, ValueError: an item is no kind of image; likewise.
            Exception: what ``images`` raise, after the results of all images before it.
        """
        check_list(images)
        check_in_flight(in_flight)
        question = Question(**asked)
        sent = (*self._metadata, *trace_metadata(question))
        stream = BlockingStream(
            lambda requests, waits: self._stub.ClassifyStream(requests, metadata=sent, wait_for_ready=waits),
            self._server,
            question,
            self._config,
            in_flight,
        )
        return stream.results(images)

    def models(self) -> list[ModelDescription]:
        """List the models that the server answers for, default first. Raises as ``classify``."""
        return describe_models(self._ask(self._stub.ListModels, pb.ListModelsRequest()))

    def versions(self) -> list[VersionState]:
        """List every version in the server's repository, and how it is. Raises as ``classify``."""
        return describe_versions(self._ask(self._stub.ListModels, pb.ListModelsRequest()))

    def statistics(self) -> ServerStatistics:
        """Ask what the server has done since it started. Raises as ``classify``."""
        return describe_statistics(self._ask(self._stub.GetStatistics, pb.GetStatisticsRequest()))

    def _ask(self, method: Callable[..., Any], request: object) -> Any:  # noqa: ANN401 - the method's own
        with client_errors(self._server):
            return method(
                request, timeout=self._config.deadline_s, metadata=(*self._metadata, *trace_metadata())
            )

    def _classify(self, request: pb.ClassifyRequest, sent: Metadata) -> tuple[pb.ClassifyResponse, Any]:
        deadline_s, hedge_after_s = self._config.deadline_s, self._config.hedge_after_s
        if not hedge_after_s:
            return self._stub.Classify.with_call(request, timeout=deadline_s, metadata=sent)

        def begin(timeout_s: float) -> Any:  # noqa: ANN401 - gRPC's
            return self._stub.Classify.future(request, timeout=timeout_s, metadata=sent)

        call = hedged(begin, deadline_s, hedge_after_s)
        return call.result(), call
