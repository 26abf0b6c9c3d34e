"""The real servicers behind grpcio's server: handlers need only their contexts, not our front."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from benchmarks.front_process import FrontProcess
from benchmarks.grpcio_front import GrpcioServer
from cifar10net.pb import classifier_pb2 as pb
from cifar10net.protocol import TIMING_KEY, TIMING_REQUEST_KEY
from service.errors import NotServingError
from service.observability.request_context import REQUEST_ID
from service.rpc.method import Method
from tests.service.raw_client import CHECK, CLASSIFY, CLASSIFY_STREAM, LIST_MODELS, WATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from service.rpc.context import StreamContext, UnaryContext

TIMEOUT_S = 60
ONE_IMAGE = pb.ClassifyRequest(packed_pixels=bytes(range(256)) * 12)
NO_MODEL = pb.ClassifyRequest(model="?", packed_pixels=bytes(3072))
Answer = tuple[Any, ...]


@pytest.fixture(scope="module")
def channels(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[grpc.Channel]]:
    """Channels to our own front and to grpcio's, with the same servicers behind."""
    logs = tmp_path_factory.mktemp("fronts")
    with (
        FrontProcess("ours", "models", repository, logs / "ours.log") as ours,
        FrontProcess("grpcio", "models", repository, logs / "grpcio.log") as grpcio,
        grpc.insecure_channel(ours.address) as one,
        grpc.insecure_channel(grpcio.address) as other,
    ):
        yield [one, other]
    assert "Traceback" not in (logs / "grpcio.log").read_text()


def _ended(call: Any) -> Answer:
    return call.code(), call.details(), dict(call.trailing_metadata() or ())


def _unary(path: str, request: Any, *metadata: tuple[str, str]) -> Callable[[grpc.Channel], Answer]:
    def ask(channel: grpc.Channel) -> Answer:
        call: Any = channel.unary_unary(path)
        try:
            reply, ended = call.with_call(request.SerializeToString(), timeout=TIMEOUT_S, metadata=metadata)
        except grpc.RpcError as error:
            return _ended(error)
        return reply, *_ended(ended)

    return ask


def _classify_stream(channel: grpc.Channel) -> Answer:
    requests = [
        pb.ClassifyStreamRequest(id="good", request=ONE_IMAGE),
        pb.ClassifyStreamRequest(id="empty"),
        pb.ClassifyStreamRequest(
            id="unknown", request=pb.ClassifyRequest(model="?", packed_pixels=bytes(3072))
        ),
    ]
    call: Any = channel.stream_stream(CLASSIFY_STREAM)
    replies = call(iter([request.SerializeToString() for request in requests]), timeout=TIMEOUT_S)
    return tuple(replies), *_ended(replies)


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (_unary(CLASSIFY, ONE_IMAGE), grpc.StatusCode.OK),
        (_unary(CLASSIFY, ONE_IMAGE, (REQUEST_ID, "mine")), grpc.StatusCode.OK),
        (_unary(LIST_MODELS, pb.ListModelsRequest()), grpc.StatusCode.OK),
        (_unary(CHECK, health_pb2.HealthCheckRequest()), grpc.StatusCode.OK),
        (_unary(CLASSIFY, pb.ClassifyRequest()), grpc.StatusCode.INVALID_ARGUMENT),
        (
            _unary(CLASSIFY, NO_MODEL, (REQUEST_ID, "mine")),
            grpc.StatusCode.NOT_FOUND,
        ),
        (
            _unary(CLASSIFY, pb.ClassifyRequest(packed_pixels=bytes(3072 * 4_097))),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (_classify_stream, grpc.StatusCode.OK),
    ],
    ids=["classify", "request id", "models", "health", "no image", "no model", "too many", "stream"],
)
def test_both_fronts_give_the_same_answer(
    channels: list[grpc.Channel], ask: Callable[[grpc.Channel], Answer], code: grpc.StatusCode
) -> None:
    ours, grpcio = (ask(channel) for channel in channels)

    assert ours == grpcio
    assert code in ours


def test_a_handler_sends_trailing_metadata_by_both(channels: list[grpc.Channel]) -> None:
    for channel in channels:
        call: Any = channel.unary_unary(CLASSIFY)
        _, ended = call.with_call(
            ONE_IMAGE.SerializeToString(), timeout=TIMEOUT_S, metadata=[(TIMING_REQUEST_KEY, "1")]
        )
        assert "total;dur=" in dict(ended.trailing_metadata())[TIMING_KEY]


def test_a_deadline_ends_a_call_on_both(channels: list[grpc.Channel]) -> None:
    for channel in channels:
        watch: Any = channel.unary_stream(WATCH)
        replies = watch(b"", timeout=0.5)

        assert next(replies) == b"\x08\x01"  # SERVING
        with pytest.raises(grpc.RpcError) as caught:
            next(replies)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def _remaining(message: bytes, call: UnaryContext) -> bytes:  # noqa: ARG001 - as every handler
    assert call.deadline_s is not None
    return str(call.deadline_s - asyncio.get_running_loop().time()).encode()


async def _talk(call: StreamContext) -> None:
    while (message := await call.receive()) is not None:
        await call.send(message)
        call.release()
    if call.is_cut_short:
        raise NotServingError("stopping")


@pytest.mark.filterwarnings("ignore:coroutine 'AioServer.shutdown' was never awaited")
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <_cython[^>]*coroutine:pytest.PytestUnraisableExceptionWarning"
)
def test_handlers_learn_of_the_deadline_and_of_a_stop() -> None:
    async def main() -> None:
        methods = (Method("/test/Remaining", unary=_remaining), Method("/test/Talk", stream=_talk))
        server = GrpcioServer(methods, max_message_bytes=1 << 20)
        port = await server.listen("127.0.0.1:0")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            remaining: Any = channel.unary_unary("/test/Remaining")
            assert TIMEOUT_S - 10 < float(await remaining(b"", timeout=TIMEOUT_S)) <= TIMEOUT_S

            call: Any = channel.stream_stream("/test/Talk")(timeout=TIMEOUT_S)
            await call.write(b"hello")
            assert await call.read() == b"hello"
            await server.stop(TIMEOUT_S)

            assert await call.code() is grpc.StatusCode.UNAVAILABLE
            assert await call.details() == "stopping"

    asyncio.run(main())
    gc.collect()  # grpcio may schedule one more shutdown then, on a loop that has ended
