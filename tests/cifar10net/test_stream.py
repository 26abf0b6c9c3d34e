"""``classify_stream``: a result for every image, in order, even when streams fail."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import itertools
import os
import signal
import threading
from concurrent import futures
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from PIL import Image

from cifar10net import (
    AsyncClient,
    Client,
    ClientConfig,
    ClientError,
    ImageErrorCode,
    ServerUnavailableError,
)
from cifar10net.failures import Failure, RetryState
from service.server.spawn import ServerProcess
from tests.cifar10net.scripted import echo, numbered, pixels_of, refuse, reply, then

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from cifar10net import ImageResult
    from cifar10net.pb import classifier_pb2 as pb
    from tests.cifar10net.scripted import ScriptedServer

    Start = Callable[..., ScriptedServer]
    Ask = Callable[..., list[ImageResult]]

Status = grpc.StatusCode


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _indices(results: list[ImageResult]) -> list[int]:
    return [result.best.index for result in results]


@pytest.mark.parametrize("in_flight", [1, 7, 256])
def test_a_stream_answers_as_calls_do(server: str, coloured: np.ndarray, stream: Ask, in_flight: int) -> None:
    mixed = [_png(image) if index % 7 == 3 else image for index, image in enumerate(coloured)]
    with Client(server) as client:
        expected = client.classify(coloured, top_k=2, model="shades", version="3")
    asked = {"top_k": 2, "model": "shades", "version": "3", "in_flight": in_flight}

    assert stream(server, coloured, **asked) == expected
    assert stream(server, mixed, **asked, priority="bulk") == expected
    assert _indices(expected) == [0, 1, 2] * 30
    assert stream(server, []) == []


def test_a_bad_image_keeps_its_place_and_its_own_error(
    server: str, coloured: np.ndarray, tmp_path: Path, stream: Ask
) -> None:
    images = [coloured[0], tmp_path / "none.png", coloured[1], b"junk", bytes(32 << 20), coloured[2]]

    results = stream(server, images)

    assert [result.error and result.error.code for result in results] == [
        None,
        ImageErrorCode.UNREADABLE_FILE,
        None,
        ImageErrorCode.UNSUPPORTED_FORMAT,
        ImageErrorCode.TOO_LARGE,
        None,
    ]
    assert _indices([results[0], results[2], results[5]]) == [0, 1, 2]
    assert str(results[3].error).startswith("begins with 6a 75 6e 6b")


def test_only_bad_images_need_no_server(tmp_path: Path, stream: Ask) -> None:
    assert stream("127.0.0.1:1", [tmp_path / "none.png"])[0].error is not None


def test_images_are_read_no_further_ahead_than_is_allowed(server: str) -> None:
    read = itertools.count()
    last = 0

    def images() -> Iterator[np.ndarray]:
        nonlocal last
        while True:
            last = next(read)
            yield np.zeros((32, 32, 3), np.uint8)

    with (
        Client(server) as client,
        contextlib.closing(client.classify_stream(images(), in_flight=5)) as results,
    ):
        for taken in range(1, 50):
            next(results)
            assert last <= taken + 5


def test_images_of_many_bytes_are_read_one_after_the_other(scripted: Start) -> None:
    begun = threading.Semaphore(0)
    server = scripted()

    def images() -> Iterator[bytes]:
        for _ in range(3):
            assert begun.acquire(timeout=60)  # released by the result of the image before
            yield bytes(5_000)

    config = ClientConfig(call_bytes=4_000)
    with Client(server.address, config) as client:
        begun.release()
        for taken, _ in enumerate(client.classify_stream(images())):
            assert len(server.script.requests) == taken + 1
            begun.release()


@pytest.mark.parametrize("in_flight", [1, 64])
def test_a_result_comes_before_the_next_image_is_there(server: str, in_flight: int) -> None:
    may_go_on = threading.Semaphore(1)

    def images() -> Iterator[np.ndarray]:
        for _ in range(10):
            assert may_go_on.acquire(timeout=60)
            yield np.zeros((32, 32, 3), np.uint8)

    with Client(server) as client:
        count = 0
        for _ in client.classify_stream(images(), in_flight=in_flight):
            count += 1
            may_go_on.release()
    assert count == 10


def test_images_may_come_asynchronously(server: str, coloured: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(_png(coloured[1]))

    async def main() -> list[int]:
        may_go_on = asyncio.Semaphore(1)

        async def images() -> AsyncIterator[Any]:
            for image in (coloured[0], path, coloured[2], coloured[0]):
                await may_go_on.acquire()
                yield image

        indices = []
        async with AsyncClient(server) as client:
            async for result in client.classify_stream(images()):
                indices.append(result.best.index)
                may_go_on.release()
        return indices

    assert asyncio.run(main()) == [0, 1, 2, 0]


def test_what_the_images_raise_is_raised_in_its_place(server: str, coloured: np.ndarray, stream: Ask) -> None:
    results: list[ImageResult] = []

    def images() -> Iterator[np.ndarray]:
        yield from coloured[:3]
        raise LookupError("the camera is gone")

    with pytest.raises(LookupError, match="the camera is gone"):
        stream(server, images(), results=results)

    assert _indices(results) == [0, 1, 2]


def test_what_asynchronous_images_raise_is_raised_in_its_place(server: str, coloured: np.ndarray) -> None:
    async def main() -> None:
        async def images() -> AsyncIterator[np.ndarray]:
            yield coloured[0]
            raise LookupError("the camera is gone")

        async with AsyncClient(server) as client:
            results = client.classify_stream(images())
            assert (await anext(results)).best.index == 0
            with pytest.raises(LookupError, match="the camera is gone"):
                await anext(results)

    asyncio.run(main())


def test_what_is_no_image_is_a_programming_error(server: str, coloured: np.ndarray, stream: Ask) -> None:
    results: list[ImageResult] = []

    with pytest.raises(TypeError, match=r"images\[1\] is a int, wanted a path"):
        stream(server, [coloured[0], 3, coloured[1]], results=results)
    assert len(results) == 1

    with Client(server) as client:  # at once, not with the first result
        with pytest.raises(TypeError, match="images is one str, wanted a list"):
            client.classify_stream("cat.jpg")
        with pytest.raises(ValueError, match="in_flight is 0, wanted 1 to 4096"):
            client.classify_stream([], in_flight=0)
        with pytest.raises(ValueError, match="priority is 'high', wanted one of interactive, bulk"):
            client.classify_stream([], priority="high")  # type: ignore[arg-type]


@pytest.mark.parametrize("code", [Status.UNAVAILABLE, Status.RESOURCE_EXHAUSTED])
def test_what_is_unanswered_is_sent_again_on_another_stream(
    scripted: Start, stream: Ask, code: grpc.StatusCode
) -> None:
    server = scripted()
    server.script.lines = [then(2, code, 0), then(0, code, 0), then(1, code, 0), echo]

    results = stream(server.address, numbered(600), in_flight=50)

    assert _indices(results) == [number % 256 for number in range(600)]
    assert server.script.streams == 4


def test_a_message_that_finds_the_server_unavailable_is_sent_again(scripted: Start, stream: Ask) -> None:
    server = scripted()

    def unavailable(
        requests: Iterator[pb.ClassifyStreamRequest], _: Any
    ) -> Iterator[pb.ClassifyStreamResponse]:
        yield reply(next(requests))
        yield refuse(next(requests), Status.UNAVAILABLE)

    server.script.lines = [unavailable, echo]

    assert _indices(stream(server.address, numbered(20), in_flight=3)) == list(range(20))


def test_a_stream_that_ends_too_early_is_followed_by_another(scripted: Start, stream: Ask) -> None:
    server = scripted()
    server.script.lines = [lambda requests, _: iter([reply(next(requests))]), echo]

    assert _indices(stream(server.address, numbered(20), in_flight=3)) == list(range(20))


def test_attempts_are_bounded_and_the_count_restarts_after_an_answer(scripted: Start, stream: Ask) -> None:
    server = scripted()
    lost, some = then(0, Status.UNAVAILABLE, 0), then(1, Status.UNAVAILABLE, 0)
    server.script.lines = [lost, lost, some, lost, lost, lost]
    results: list[ImageResult] = []

    with pytest.raises(ServerUnavailableError, match=r"not now\); is cifar10net serve running there"):
        stream(server.address, numbered(9), ClientConfig(max_attempts=3), results=results, in_flight=1)

    assert server.script.streams == 5
    assert _indices(results) == [0]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Failure, float]]:
    """Record the failures that are retried, and the delay after each."""
    found: list[tuple[Failure, float]] = []
    delay_s = RetryState.delay_s

    def noted(self: RetryState, failure: Failure) -> float:
        found.append((failure, delay_s(self, failure)))
        return found[-1][1]

    monkeypatch.setattr(RetryState, "delay_s", noted)
    return found


def test_pushback_of_a_server_is_obeyed(
    scripted: Start, stream: Ask, heard: list[tuple[Failure, float]]
) -> None:
    server = scripted()
    server.script.lines = [then(0, Status.RESOURCE_EXHAUSTED, 35), then(0, Status.UNAVAILABLE), echo]

    assert _indices(stream(server.address, numbered(3))) == [0, 1, 2]
    (_, first_s), (_, second_s) = heard
    assert first_s == 0.035
    assert 0.3 < second_s < 0.5  # the second backoff, since the server set no delay


def test_what_a_server_says_counts_though_messages_could_not_be_written(
    scripted: Start, stream: Ask, heard: list[tuple[Failure, float]]
) -> None:
    server = scripted()
    none, one = then(0, Status.RESOURCE_EXHAUSTED, 1), then(1, Status.RESOURCE_EXHAUSTED, 1)
    server.script.lines = [none, none, none, one] * 12
    pictures = [b"\0" * 400_000] * 12  # more than a client may send before the server reads

    results = stream(server.address, pictures, ClientConfig(max_attempts=5), in_flight=3)

    assert _indices(results) == [0] * 12
    assert {failure for failure, _ in heard} == {Failure(Status.RESOURCE_EXHAUSTED, "not now", 1)}


@pytest.mark.parametrize("code", [Status.NOT_FOUND, Status.UNAUTHENTICATED, Status.DATA_LOSS])
def test_another_status_of_a_stream_is_its_end(scripted: Start, stream: Ask, code: grpc.StatusCode) -> None:
    server = scripted()
    server.script.lines = [then(1, code)]
    results: list[ImageResult] = []

    with pytest.raises(ClientError, match=f"answered {code.name}: not now"):
        stream(server.address, numbered(9), results=results, in_flight=1)

    assert (_indices(results), server.script.streams) == ([0], 1)


def test_a_refused_message_is_the_end_and_says_why(server: str, coloured: np.ndarray, stream: Ask) -> None:
    with pytest.raises(ClientError, match=r"answered NOT_FOUND: no model is called 'lenet'") as caught:
        stream(server, coloured, model="lenet")

    assert caught.value.code is Status.NOT_FOUND


def test_an_image_on_which_the_server_fails_fails_alone(scripted: Start, stream: Ask) -> None:
    server = scripted()
    everything_is_read = threading.Event()

    def images() -> Iterator[np.ndarray]:
        yield from numbered(40)
        everything_is_read.set()

    def fragile(requests: Iterator[pb.ClassifyStreamRequest], _: Any) -> Iterator[pb.ClassifyStreamResponse]:
        for envelope in requests:
            assert everything_is_read.wait(60)  # so that several images go together
            bad = any(pixels[0] == 17 for pixels in pixels_of(envelope.request))
            yield refuse(envelope, Status.INTERNAL, "a fault") if bad else reply(envelope)

    server.script.lines = [fragile]

    results = stream(server.address, images())

    assert max(len(pixels_of(request)) for request in server.script.requests) > 1
    assert str(results[17].error) == "was refused by the server: INTERNAL: a fault"
    del results[17]
    assert _indices(results) == [number for number in range(40) if number != 17]


def test_an_image_that_is_too_large_for_the_server_fails_alone(
    repository: Path, tmp_path: Path, coloured: np.ndarray, stream: Ask
) -> None:
    limits = ("--max-message-mib", "1", "--max-pending-mib", "64")
    with ServerProcess("--models", str(repository), *limits, log=tmp_path / "log") as process:
        images = [*coloured[:5], bytes(2 << 20), *coloured[5:10]]

        results = stream(process.address, images)

    error = results.pop(5).error
    assert error is not None
    assert error.code is ImageErrorCode.TOO_LARGE
    assert "RESOURCE_EXHAUSTED" in error.message
    assert _indices(results) == [index % 3 for index in range(10)]


def test_a_server_that_breaks_its_contract_is_an_error(scripted: Start, stream: Ask) -> None:
    server = scripted()

    def forgetful(
        requests: Iterator[pb.ClassifyStreamRequest], _: Any
    ) -> Iterator[pb.ClassifyStreamResponse]:
        answered = reply(next(requests))
        del answered.response.results[-1]
        yield answered

    server.script.lines = [forgetful]

    with pytest.raises(ClientError, match=r"violates classifier\.proto"):
        stream(server.address, numbered(3))


def test_the_next_answer_has_a_deadline(scripted: Start, stream: Ask) -> None:
    server = scripted()
    never = threading.Event()

    server.script.lines = [lambda requests, _: iter([reply(next(requests))] * never.wait(60))]
    try:
        with pytest.raises(ClientError, match=r"sent no answer for 0.2 seconds, with \d images") as caught:
            stream(server.address, numbered(5), ClientConfig(deadline_s=0.2), in_flight=2)
    finally:
        never.set()

    assert caught.value.code is Status.DEADLINE_EXCEEDED


def test_a_stream_that_waits_for_images_is_not_late(scripted: Start) -> None:
    server = scripted()
    ended = threading.Event()

    def brief(
        requests: Iterator[pb.ClassifyStreamRequest], context: Any
    ) -> Iterator[pb.ClassifyStreamResponse]:
        context.add_callback(ended.set)
        yield reply(next(requests))

    def images() -> Iterator[np.ndarray]:
        yield numbered(2)[0]
        assert ended.wait(60)  # the stream has ended while there was nothing to send
        yield numbered(2)[1]

    server.script.lines = [brief, echo]
    with Client(server.address, ClientConfig(max_attempts=2)) as client:
        assert _indices(list(client.classify_stream(images()))) == [0, 1]


def test_a_stream_ends_with_its_status_once_all_is_answered(scripted: Start, stream: Ask) -> None:
    server = scripted()
    were_cancelled: list[bool] = []

    def line(requests: Iterator[pb.ClassifyStreamRequest], context: Any) -> Iterator[Any]:
        cancelled = threading.Event()
        context.add_callback(cancelled.set)
        yield from map(reply, requests)
        were_cancelled.append(cancelled.wait(0.2))

    server.script.lines = [line]

    assert len(stream(server.address, numbered(3))) == 3
    server.script.ended.acquire(timeout=10)
    assert were_cancelled == [False]


@pytest.mark.parametrize("is_dropped", [False, True])
def test_leaving_early_ends_the_stream_and_its_threads(scripted: Start, *, is_dropped: bool) -> None:
    server = scripted()
    before = set(threading.enumerate())
    with Client(server.address) as client:
        results = client.classify_stream(itertools.cycle(numbered(10)), in_flight=20)
        assert [next(results).best.index for _ in range(15)] == [*range(10), *range(5)]
        started = [thread for thread in threading.enumerate() if thread.name.startswith("cifar10net")]

        if is_dropped:
            del results
            gc.collect()
        else:
            results.close()

        assert len(started) == 2
        assert not any(thread.is_alive() for thread in started)
        assert server.script.ended.acquire(timeout=60)
    for thread in set(threading.enumerate()) - before:
        if not thread.name.startswith("ThreadPoolExecutor"):  # the server's
            thread.join(60)
            assert not thread.is_alive()


def test_leaving_early_with_asyncio_ends_the_stream_and_its_tasks(scripted: Start) -> None:
    server = scripted()

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            images = itertools.cycle(numbered(10))
            async with contextlib.aclosing(client.classify_stream(images, in_flight=20)) as results:
                async for result in results:
                    if result.best.index == 9:
                        break
            assert not [each for each in threading.enumerate() if each.name.startswith("cifar10net")]
            assert await asyncio.to_thread(server.script.ended.acquire, timeout=60)

    asyncio.run(main())


def test_cancelling_the_task_that_takes_results_ends_the_stream(scripted: Start) -> None:
    server = scripted()
    never = threading.Event()
    server.script.lines = [lambda requests, _: iter([reply(next(requests))] * never.wait(60))]

    async def main() -> None:
        async with AsyncClient(server.address) as client:

            async def take() -> None:
                async for _ in client.classify_stream(itertools.cycle(numbered(10))):
                    pass

            task = asyncio.create_task(take())
            while not server.script.streams:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(server.script.ended.acquire, timeout=60)
            never.set()

    asyncio.run(main())


def test_images_that_block_do_not_keep_their_caller(scripted: Start) -> None:
    server = scripted()
    may_end = threading.Event()

    def images() -> Iterator[np.ndarray]:
        yield numbered(1)[0]
        may_end.wait(60)

    with Client(server.address) as client:
        results = client.classify_stream(images())
        next(results)
        results.close()
    left = [thread for thread in threading.enumerate() if thread.name == "cifar10net-reader"]
    assert len(left) == 1

    may_end.set()
    left[0].join(60)
    assert not left[0].is_alive()


def test_a_client_that_is_closed_ends_its_streams(scripted: Start) -> None:
    server = scripted()
    client = Client(server.address, ClientConfig(max_attempts=1))
    results = client.classify_stream(itertools.cycle(numbered(10)), in_flight=20)
    next(results)

    client.close()

    with pytest.raises((ClientError, ValueError)):
        list(results)


def test_threads_share_a_client(server: str, coloured: np.ndarray) -> None:
    with Client(server) as client, futures.ThreadPoolExecutor(4) as pool:
        streams = pool.map(
            lambda first: _indices(list(client.classify_stream(coloured[first:], in_flight=10))), range(4)
        )

        assert list(streams) == [[index % 3 for index in range(first, 90)] for first in range(4)]


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_a_server_that_is_replaced_costs_no_image(
    repository: Path, tmp_path: Path, coloured: np.ndarray, stream: Ask, end: str
) -> None:
    first = ServerProcess("--models", str(repository), log=tmp_path / "first")
    first.start()
    port = int(first.address.rpartition(":")[2])
    second = ServerProcess("--models", str(repository), port=port, log=tmp_path / "second")

    def images() -> Iterator[np.ndarray]:
        for number in range(900):
            if number == 300:
                first.terminate() if end == "terminate" else os.kill(first.pid, signal.SIGKILL)
                first.wait()
                second.start()
            yield coloured[number % 90]

    try:
        results = stream(first.address, images(), ClientConfig(deadline_s=120), in_flight=64)
    finally:
        second.stop()

    assert _indices(results) == [number % 3 for number in range(900)]
