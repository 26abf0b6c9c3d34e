"""Tests of our own load generator and of h2load, against real servers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import numpy as np
import pytest

from benchmarks import generator, h2load
from benchmarks.answers import Answers
from benchmarks.generator import Target, arrival_times, stream_answer, stream_message
from benchmarks.load import Load, LoadError
from cifar10net.pb import classifier_pb2 as pb
from service.server.spawn import ServerProcess
from tests.service.colours import colour_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

ANSWER = pb.ClassifyResponse(model="colours", version="1").SerializeToString()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("models")
    path = folder / "colours" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(colour_model())
    with ServerProcess("--models", str(folder), "--threads", "1", log=folder.parent / "log") as process:
        yield process.address


@pytest.fixture
def target(server: str) -> Target:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    request = pb.ClassifyRequest(packed_pixels=pixels.tobytes()).SerializeToString()
    return Target(server, request, h2load.ask(server, request), connections=3)


def test_arrivals_have_the_wanted_rate_and_no_memory() -> None:
    times = np.array(arrival_times(1000, 20, seed=1))
    gaps = np.diff(times)

    assert 19_400 < len(times) < 20_600  # four standard deviations
    assert (gaps > 0).all()
    assert times[-1] < 20
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # as of an exponential distribution


def test_arrivals_are_the_same_for_the_same_seed_alone() -> None:
    assert arrival_times(100, 2, seed=5) == arrival_times(100, 2, seed=5)
    assert arrival_times(100, 2, seed=5) != arrival_times(100, 2, seed=6)


def test_every_call_of_the_closed_loop_is_answered(target: Target) -> None:
    load = generator.closed_loop(target, callers=6, seconds=0.2)

    assert load.calls >= 6
    assert load.failures == {}


def test_every_call_at_random_times_is_answered(target: Target) -> None:
    load = generator.poisson(target, rate=400, seconds=0.5, seed=3)

    assert load.calls == len(arrival_times(400, 0.5, seed=3))
    assert load.failures == {}


def test_a_wrong_answer_is_a_failure(target: Target) -> None:
    other = replace(target, expected=ANSWER)

    with pytest.raises(LoadError, match="the answer is not the expected one"):
        generator.closed_loop(other, callers=2, seconds=0.0)


def test_a_status_is_a_failure(target: Target) -> None:
    request = pb.ClassifyRequest(model="nobody", packed_pixels=bytes(3072)).SerializeToString()

    with pytest.raises(LoadError, match="grpc-status 5"):
        generator.closed_loop(replace(target, request=request), callers=2, seconds=0.0)


@pytest.mark.skipif(not h2load.is_installed(), reason=h2load.INSTALL)
def test_h2load_has_every_call_answered(target: Target) -> None:
    load = h2load.run(target, callers=6, calls=200)

    assert (load.calls, load.failures) == (200, {})


@pytest.mark.skipif(not h2load.is_installed(), reason=h2load.INSTALL)
def test_h2load_is_not_believed_when_the_answers_are_others(target: Target) -> None:
    with pytest.raises(LoadError, match="wanted"):
        h2load.run(replace(target, expected=ANSWER), callers=3, calls=10)


def test_one_call_that_is_answered_otherwise_is_refused(target: Target) -> None:
    with pytest.raises(LoadError, match="as expected"):
        h2load.check_call(replace(target, expected=ANSWER))


def test_answers_may_differ_in_the_last_bits_alone() -> None:
    def answer(probability: float, label: str = "cat") -> bytes:
        score = pb.ClassScore(index=3, label=label, probability=probability)
        result = pb.ImageResult(prediction=pb.Prediction(classes=[score]))
        return pb.ClassifyResponse(model="m", version="1", results=[result]).SerializeToString()

    answers = Answers(answer(0.5))

    assert answers.agrees(answer(0.5))
    assert answers.agrees(answer(0.500001))
    assert not answers.agrees(answer(0.51))
    assert not answers.agrees(answer(0.5, "dog"))
    assert not answers.agrees(b"")
    assert not answers.agrees(b"\xff")


@pytest.mark.parametrize("size", [0, 1, 127, 128, 3075, 200_000])
def test_messages_of_a_stream_are_numbered(size: int) -> None:
    # The fields of request and answer have the same numbers.
    assert stream_answer(stream_message(12, bytes(size))) == (12, bytes(size))


@pytest.mark.parametrize(
    "body", [b"", b"\x0a", b"\x0a\x011", b"\x0a\x011\x1a\x00", b"\x0a\x01x\x12\x00", b"\x0a\x011\x12\x05"]
)
def test_junk_instead_of_an_answer_of_a_stream_is_recognised(body: bytes) -> None:
    assert stream_answer(body) == (-1, b"")


def test_every_message_of_a_stream_is_answered() -> None:
    load = _stream(lambda number: number)

    assert load.calls >= 8
    assert load.failures == {}


def test_answers_of_a_stream_out_of_order_are_failures() -> None:
    load = _stream(lambda number: number if number < 4 else number + 1)

    assert load.calls == 4
    assert sum(load.failures.values()) >= 4
    assert all("out of order" in what for what in load.failures)


def _stream(answered_as: Callable[[int], int]) -> Load:
    """Load a server that answers each message under a number of its choice."""

    async def answer(requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
        async for request in requests:
            yield stream_message(answered_as(stream_answer(request)[0]), ANSWER)

    async def serve() -> Load:
        handlers: dict[str, Any] = {"ClassifyStream": grpc.stream_stream_rpc_method_handler(answer)}
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("cifar10net.v1.Classifier", handlers),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        target = Target(f"127.0.0.1:{port}", bytes(3075), ANSWER)
        try:
            return await asyncio.to_thread(generator.stream, target, 8, 0.1)
        finally:
            await server.stop(None)

    return asyncio.run(serve())
