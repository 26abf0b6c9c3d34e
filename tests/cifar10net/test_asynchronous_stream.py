"""The server's status at the end of a stream counts, even where gRPC replaces it by an error of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest

from cifar10net.asynchronous_stream import AsynchronousStream
from cifar10net.config import ClientConfig
from cifar10net.failures import Failure, RetryState
from cifar10net.request_options import RequestOptions
from tests.cifar10net.scripted import numbered, reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cifar10net.pb import classifier_pb2 as pb

Status = grpc.StatusCode
_OF_GRPC = (Status.INTERNAL, "Internal error from Core", ())


class _Overtaken:
    """A call that ends while a message is being written, as happens in gRPC's asyncio client now and then.

    The server's status either comes first and is then replaced, or comes only after some polls.
    """

    def __init__(
        self, requests: AsyncIterator[pb.ClassifyStreamRequest], said: tuple[Any, ...], looks: int
    ) -> None:
        self._requests, self._said, self._looks = requests, said, looks
        self._status: tuple[Any, ...] = _OF_GRPC
        self._noting: Callable[[Any], None] = lambda _: None

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._noting = callback

    def cancel(self) -> None:
        """Do nothing: the call has ended."""

    async def __aiter__(self) -> AsyncIterator[pb.ClassifyStreamResponse]:
        yield reply(await anext(self._requests))
        if self._looks == 0:
            self._status = self._said
        self._noting(self)
        self._status = _OF_GRPC
        raise grpc.RpcError

    async def code(self) -> grpc.StatusCode:
        self._looks -= 1
        if self._looks == 0:
            self._status = self._said
        return cast("grpc.StatusCode", self._status[0])

    async def details(self) -> str:
        return str(self._status[1])

    async def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return cast("tuple[tuple[str, str], ...]", self._status[2])


class _Echo(_Overtaken):
    """A call that answers every message."""

    async def __aiter__(self) -> AsyncIterator[pb.ClassifyStreamResponse]:
        async for request in self._requests:
            yield reply(request)


def _classes(calls: list[type[_Overtaken]], said: tuple[Any, ...], looks: int) -> list[int]:
    def open_stream(requests: AsyncIterator[pb.ClassifyStreamRequest], waits: bool) -> Any:  # noqa: ARG001, FBT001
        return calls.pop(0)(requests, said, looks)

    async def ask() -> list[int]:
        stream = AsynchronousStream(open_stream, "nowhere", RequestOptions(), ClientConfig(), 1)
        return [result.classes[0].index async for result in stream.results(numbered(4))]

    return asyncio.run(asyncio.wait_for(ask(), 30))


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Failure]:
    """Record the failures that are retried, and retry at once."""
    found: list[Failure] = []

    def delay_s(_: RetryState, failure: Failure) -> float:
        found.append(failure)
        return 0.0

    monkeypatch.setattr(RetryState, "delay_s", delay_s)
    return found


def test_a_stream_that_ended_well_goes_on_at_once(heard: list[Failure]) -> None:
    assert _classes([_Overtaken, _Overtaken, _Echo], (Status.OK, "", ()), looks=0) == [0, 1, 2, 3]
    assert not heard


@pytest.mark.parametrize("looks", [0, 5])
def test_the_servers_pushback_is_read(heard: list[Failure], looks: int) -> None:
    pushback = (Status.RESOURCE_EXHAUSTED, "not now", (("grpc-retry-pushback-ms", "35"),))

    assert _classes([_Overtaken, _Echo], pushback, looks) == [0, 1, 2, 3]
    assert heard == [Failure(Status.RESOURCE_EXHAUSTED, "not now", 35)]
