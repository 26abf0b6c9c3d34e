"""Requests while a model is busy: they time out, wait or are refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hyperframe.frame import DataFrame

from cifar10net.pb import inference_pb2 as pb
from cifar10net.protocol import MAX_CALL_IMAGES
from service.batching.admission import Admission
from service.config import ServerConfig
from service.errors import Code, DeadlineError, OverloadedError
from service.observability.observers import Observer
from service.repository import Loaded, Repository
from service.rpc.method import Method
from service.servicers.inference.infer import InferHandlers
from tests.service.in_process import Line, server_of, until
from tests.service.raw_client import framed
from tests.service.servicers.gated_model import GatedModel
from tests.service.servicers.inference.requests import SERVICE, infer_request, numbers, parameters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from service.observability.observers import Request
    from service.rpc.context import UnaryContext

ONE = np.zeros((1, 32, 32, 3), np.uint8)
STREAM = f"{SERVICE}/ModelStreamInfer"


class _Recorder(Observer):
    """Keeps the requests that it is notified of."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def on_request(self, request: Request) -> None:
        self.requests.append(request)


class _Context:
    """The context of a call without a connection."""

    def __init__(self, deadline_s: float | None = None) -> None:
        self.deadline_s = deadline_s
        self.metadata: dict[bytes, bytes] = {}
        self.code = Code.CANCELLED
        self.images = 0


@pytest.fixture
def model() -> Iterator[GatedModel]:
    model = GatedModel()
    yield model
    model.opened.set()


def _run(
    model: Any, max_images: int, scenario: Callable[[InferHandlers, _Recorder], Awaitable[None]]
) -> None:
    async def main() -> None:
        repository, recorder = Repository(), _Recorder()
        repository.open(Loaded([(model,)]), ServerConfig())
        await scenario(
            InferHandlers(repository, Admission(max_images), recorder, None, MAX_CALL_IMAGES), recorder
        )
        model.opened.set()
        await repository.close()

    asyncio.run(main())


def _ask(handlers: InferHandlers, **fields: Any) -> asyncio.Task[bytes]:
    context: UnaryContext = _Context()  # type: ignore[assignment]
    message = infer_request(ONE, "gated", **fields).SerializeToString()
    return asyncio.ensure_future(handlers.infer(message, context))


def test_a_request_ends_at_its_timeout_though_the_model_does_not(model: GatedModel) -> None:
    async def scenario(handlers: InferHandlers, recorder: _Recorder) -> None:
        asking = _ask(handlers, parameters=parameters({"timeout": 200_000}))
        with pytest.raises(DeadlineError, match="timeout passed"):
            await asking
        assert not model.opened.is_set()
        assert [(each.code, each.images) for each in recorder.requests] == [(Code.DEADLINE_EXCEEDED, 1)]

    _run(model, 10, scenario)


def test_a_request_beyond_capacity_is_refused(model: GatedModel) -> None:
    async def scenario(handlers: InferHandlers, recorder: _Recorder) -> None:
        first = _ask(handlers)
        assert await asyncio.to_thread(model.entered.wait, 60)
        with pytest.raises(OverloadedError):
            await _ask(handlers)
        model.opened.set()
        assert numbers(pb.ModelInferResponse.FromString(await first)).shape == (1, 3)
        assert [each.code for each in recorder.requests] == [Code.RESOURCE_EXHAUSTED, Code.OK]
        assert numbers(pb.ModelInferResponse.FromString(await _ask(handlers))).shape == (1, 3)

    _run(model, 1, scenario)


def test_a_request_of_a_stream_waits_for_capacity(model: GatedModel) -> None:
    async def scenario(handlers: InferHandlers, recorder: _Recorder) -> None:
        server = server_of(Method(STREAM, stream=handlers.stream_infer))
        line = Line(server)
        line.open(1, STREAM)
        requests = [infer_request(ONE, "gated", id=name).SerializeToString() for name in ("a", "b", "c")]
        line.send(DataFrame(1, b"".join(map(framed, requests)), flags=["END_STREAM"]))
        assert await asyncio.to_thread(model.entered.wait, 60)
        model.opened.set()
        await until(lambda: len(recorder.requests) == 3)
        await until(lambda: not line.connection.streams)
        line.transport.close()
        await server.close()
        assert [each.code for each in recorder.requests] == [Code.OK] * 3

    _run(model, 1, scenario)
