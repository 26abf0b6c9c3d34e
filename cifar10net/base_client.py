"""What ``Client`` and ``AsyncClient`` share: settings, the metadata of calls, and how a stream is set up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from cifar10net.base_stream import BaseStream
from cifar10net.channel import access_metadata
from cifar10net.channel_options import channel_options
from cifar10net.config import ClientConfig
from cifar10net.messages import check_list
from cifar10net.pb import classifier_pb2_grpc
from cifar10net.protocol import DEFAULT_SERVER, MAX_CALL_IMAGES
from cifar10net.request_options import RequestOptions
from cifar10net.server_timing import TIMING_REQUEST
from cifar10net.trace_context import Metadata, trace_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cifar10net.pb.classifier_pb2_grpc import ClassifierStub
    from cifar10net.request_options import Options

Stream = TypeVar("Stream", bound=BaseStream)


class BaseClient:
    """Subclasses say how a channel is opened."""

    _open_channel: Callable[..., Any]
    _channel: Any
    _stub: ClassifierStub

    def __init__(
        self, server: str | Sequence[str] = DEFAULT_SERVER, config: ClientConfig | None = None
    ) -> None:
        """Create a client; it connects on its first call.

        Args:
            server: ``host:port``, or a list of IP addresses with ports. Calls rotate between the addresses of
                the list, or between those that DNS has for the host.
            config: deadlines, retries, call sizes and access.

        Raises:
            ConfigError: ``server`` is not ``host:port``, or a TLS file cannot be read.
        """
        self._server = server if isinstance(server, str) else ",".join(server)
        self._config = config or ClientConfig()
        options = channel_options(self._server, self._config)
        self._channel = self._open_channel(self._server, self._config.access, options)
        self._stub = classifier_pb2_grpc.ClassifierStub(self._channel)
        self._access_metadata = access_metadata(self._config.access)

    def _metadata(self, options: RequestOptions | None = None, *, with_timing: bool = False) -> Metadata:
        timing = TIMING_REQUEST if with_timing else ()
        return (*self._access_metadata, *trace_metadata(options), *timing)

    def _stream(self, kind: type[Stream], images: object, in_flight: int, options: Options) -> Stream:
        """Validate the arguments of ``classify_stream`` and create its stream."""
        check_list(images)
        if not 1 <= in_flight <= MAX_CALL_IMAGES:
            raise ValueError(f"in_flight is {in_flight}, wanted 1 to {MAX_CALL_IMAGES}")
        request_options = RequestOptions(**options)
        metadata = self._metadata(request_options)
        return kind(
            lambda requests, wait_for_ready: self._stub.ClassifyStream(
                requests, metadata=metadata, wait_for_ready=wait_for_ready
            ),
            self._server,
            request_options,
            self._config,
            in_flight,
        )
