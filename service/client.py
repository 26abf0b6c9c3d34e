"""Ask a server: ``Client`` for ordinary code, ``AsyncClient`` for asyncio.

Both keep one connection, set a deadline on every call, repeat calls that found the server UNAVAILABLE
(classification has no side effects), split long lists below the message limit, and answer in plain
dataclasses, one an image, in order.

    with Client("127.0.0.1:50051") as client:
        for result in client.classify(["cat.jpg", "ship.png"]):
            print(result.best.label, result.best.probability)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Self, TypeAlias

import grpc

from service.address import channel_options
from service.channel import metadata, open_aio_channel, open_channel
from service.config import DEFAULT_SERVER, DEFAULT_TOP_K, MAX_MESSAGE_BYTES, ClientConfig
from service.errors import ClientError, ServerUnavailableError
from service.figures import ServerStatistics, describe_statistics
from service.pb import classifier_pb2 as pb
from service.pb import classifier_pb2_grpc
from service.server_timing import WISH_KEY, read
from service.wire import (
    ClassScore,
    ImageLike,
    ImageResult,
    ModelDescription,
    VersionState,
    chunks,
    describe_models,
    describe_versions,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

OnTiming: TypeAlias = "Callable[[dict[str, float]], None]"
"""Is told of each call how long its parts took in the server: decode, queue, batch, compute, total, in
milliseconds; those that did not happen are left out."""
_WISH = ((WISH_KEY, "1"),)
_SERVICE = pb.DESCRIPTOR.services_by_name["Classifier"].full_name

__all__ = [
    "AsyncClient",
    "ClassScore",
    "Client",
    "ImageLike",
    "ImageResult",
    "ModelDescription",
    "ServerStatistics",
    "VersionState",
]


class Client:
    """Asks one server; safe to share between threads, and made once rather than for each call."""

    def __init__(self, server: str = DEFAULT_SERVER, config: ClientConfig | None = None) -> None:
        """Prepare a connection to ``host:port``; it is made by the first call.

        Raises:
            ConfigError: ``server`` is no ``host:port``, or a file for TLS cannot be read.
        """
        self._server = server
        self._config = config or ClientConfig()
        self._channel = open_channel(server, self._config.access, _options(server, self._config))
        self._metadata = metadata(self._config.access)
        self._stub = classifier_pb2_grpc.ClassifierStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def classify(
        self,
        images: Iterable[ImageLike],
        *,
        top_k: int = DEFAULT_TOP_K,
        model: str = "",
        version: str = "",
        on_timing: OnTiming | None = None,
    ) -> list[ImageResult]:
        """Classify pictures of any size.

        Args:
            images: paths, file bytes, Pillow images, arrays uint8 (height, width, 3), or an array
                uint8 (n, 32, 32, 3), which is the fastest form.
            top_k: classes an image, 1 to 10.
            model: a name from ``models``; empty is the server's default.
            version: a version of it; empty is the newest.
            on_timing: is told of each call how long its parts took in the server.

        Returns:
            A result an image, in order. A picture that cannot be read has its ``error`` set and
            leaves the others as they are.

        Raises:
            ServerUnavailableError: nobody answered, also after retries.
            ClientError: the server refused the call or did not answer within the deadline.
            TypeError, ValueError: an item is no kind of image, before its call is sent.
        """
        results = self.classify_iter(images, top_k=top_k, model=model, version=version, on_timing=on_timing)
        return list(results)

    def classify_iter(
        self,
        images: Iterable[ImageLike],
        *,
        top_k: int = DEFAULT_TOP_K,
        model: str = "",
        version: str = "",
        on_timing: OnTiming | None = None,
    ) -> Iterator[ImageResult]:
        """Classify as ``classify`` does, reading and answering call by call in flat memory."""
        wish = () if on_timing is None else _WISH
        for chunk in chunks(images, self._config):
            request, response = chunk.request(top_k, model, version), None
            if request is not None:
                with _client_errors(self._server):
                    response, call = self._stub.Classify.with_call(
                        request, timeout=self._config.deadline_s, metadata=(*self._metadata, *wish)
                    )
                if on_timing is not None:
                    on_timing(read(dict(call.trailing_metadata())))
            yield from chunk.results(response)

    def models(self) -> list[ModelDescription]:
        """List the models that the server answers for, default first. Raises as ``classify``."""
        with _client_errors(self._server):
            response = self._stub.ListModels(
                pb.ListModelsRequest(), timeout=self._config.deadline_s, metadata=self._metadata
            )
        return describe_models(response)

    def versions(self) -> list[VersionState]:
        """List every version in the server's repository, and how it is. Raises as ``classify``."""
        with _client_errors(self._server):
            response = self._stub.ListModels(
                pb.ListModelsRequest(), timeout=self._config.deadline_s, metadata=self._metadata
            )
        return describe_versions(response)

    def statistics(self) -> ServerStatistics:
        """Ask what the server has done since it started. Raises as ``classify``."""
        with _client_errors(self._server):
            response = self._stub.GetStatistics(
                pb.GetStatisticsRequest(), timeout=self._config.deadline_s, metadata=self._metadata
            )
        return describe_statistics(response)


class AsyncClient:
    """Asks one server from asyncio; to be made and used within one event loop."""

    def __init__(self, server: str = DEFAULT_SERVER, config: ClientConfig | None = None) -> None:
        """Prepare a connection to ``host:port``; it is made by the first call.

        Raises:
            ConfigError: ``server`` is no ``host:port``, or a file for TLS cannot be read.
        """
        self._server = server
        self._config = config or ClientConfig()
        self._channel = open_aio_channel(server, self._config.access, _options(server, self._config))
        self._metadata = metadata(self._config.access)
        self._stub = classifier_pb2_grpc.ClassifierStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def classify(
        self,
        images: Iterable[ImageLike],
        *,
        top_k: int = DEFAULT_TOP_K,
        model: str = "",
        version: str = "",
        on_timing: OnTiming | None = None,
    ) -> list[ImageResult]:
        """Classify pictures; arguments, result and errors as ``Client.classify``.

        Files are read and pictures reduced in a thread, so that the event loop goes on.
        """
        wish = () if on_timing is None else _WISH
        results: list[ImageResult] = []
        pieces = chunks(images, self._config)
        while (chunk := await asyncio.to_thread(next, pieces, None)) is not None:
            request, response = chunk.request(top_k, model, version), None
            if request is not None:
                with _client_errors(self._server):
                    call = self._stub.Classify(
                        request, timeout=self._config.deadline_s, metadata=(*self._metadata, *wish)
                    )
                    response = await call
                    if on_timing is not None:
                        on_timing(read(dict(await call.trailing_metadata())))
            results.extend(chunk.results(response))
        return results

    async def models(self) -> list[ModelDescription]:
        """List the models that the server answers for, default first. Raises as ``classify``."""
        with _client_errors(self._server):
            response = await self._stub.ListModels(
                pb.ListModelsRequest(), timeout=self._config.deadline_s, metadata=self._metadata
            )
        return describe_models(response)

    async def versions(self) -> list[VersionState]:
        """List every version in the server's repository, and how it is. Raises as ``classify``."""
        with _client_errors(self._server):
            response = await self._stub.ListModels(
                pb.ListModelsRequest(), timeout=self._config.deadline_s, metadata=self._metadata
            )
        return describe_versions(response)

    async def statistics(self) -> ServerStatistics:
        """Ask what the server has done since it started. Raises as ``classify``."""
        with _client_errors(self._server):
            response = await self._stub.GetStatistics(
                pb.GetStatisticsRequest(), timeout=self._config.deadline_s, metadata=self._metadata
            )
        return describe_statistics(response)


def _options(server: str, config: ClientConfig) -> list[tuple[str, str | int]]:
    """Channel arguments: message limits, and retries of UNAVAILABLE with jittered backoff."""
    options: list[tuple[str, str | int]] = [
        *channel_options(server),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ]
    if config.max_attempts == 1:
        return [*options, ("grpc.enable_retries", 0)]
    policy = {
        "maxAttempts": config.max_attempts,
        "initialBackoff": "0.2s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": [grpc.StatusCode.UNAVAILABLE.name],
    }
    method_config = [{"name": [{"service": _SERVICE}], "retryPolicy": policy}]
    return [
        *options,
        ("grpc.service_config", json.dumps({"methodConfig": method_config})),
        # A request larger than the buffer is never repeated; the default is 256 KiB, 85 images.
        ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
    ]


@contextlib.contextmanager
def _client_errors(server: str) -> Iterator[None]:
    """Turn gRPC's exception into one with a sentence that says what to do."""
    try:
        yield
    except grpc.RpcError as error:
        code, details = error.code(), error.details()
        if code is grpc.StatusCode.UNAVAILABLE:
            raise ServerUnavailableError(
                code, f"no answer from {server} ({details}); is cifar10net serve running there?"
            ) from error
        raise ClientError(code, f"{server} answered {code.name}: {details}") from error
