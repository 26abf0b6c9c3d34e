"""ClassifyStream: responses in order, and errors that affect one request or one stream only."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import grpc
import pytest

from cifar10net.pb import classifier_pb2 as pb
from cifar10net.pb import classifier_pb2_grpc
from service.server.spawn import ServerProcess
from tests.service.raw_client import CLASSIFY_STREAM, EMPTY_MESSAGE, LIST_MODELS, Peer, Wire, framed, head

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

UNAVAILABLE = 14
WINDOW = 1 << 20


def _request(
    number: int, pixels: bytes = bytes(3072), *, model: str = "", top_k: int = 3
) -> pb.ClassifyStreamRequest:
    request = pb.ClassifyRequest(packed_pixels=pixels, model=model, top_k=top_k)
    return pb.ClassifyStreamRequest(id=f"number {number}", request=request)


@pytest.fixture
def stub(server: str) -> Iterator[classifier_pb2_grpc.ClassifierStub]:
    with grpc.insecure_channel(server) as channel:
        yield classifier_pb2_grpc.ClassifierStub(channel)


def test_answers_come_in_order_with_their_ids(
    stub: classifier_pb2_grpc.ClassifierStub, coloured: np.ndarray
) -> None:
    sizes = [1, 90, 3, 1, 45, 2] * 30  # large ones do not let small ones pass
    requests = [_request(number, coloured[:size].tobytes()) for number, size in enumerate(sizes)]

    replies = list(stub.ClassifyStream(iter(requests), timeout=60))

    assert [reply.id for reply in replies] == [request.id for request in requests]
    assert [len(reply.response.results) for reply in replies] == sizes
    labels = [result.prediction.classes[0].label for result in replies[1].response.results]
    assert labels == ["red", "green", "blue"] * 30


def test_an_error_is_a_message_and_the_stream_goes_on(stub: classifier_pb2_grpc.ClassifierStub) -> None:
    requests = [
        _request(0),
        _request(1, b"12345"),
        _request(2, model="none"),
        pb.ClassifyStreamRequest(id="number 3"),
        _request(4, top_k=99),
        _request(5),
    ]

    replies = list(stub.ClassifyStream(iter(requests), timeout=60))

    assert [reply.id for reply in replies] == [request.id for request in requests]
    assert [reply.error.code for reply in replies] == [0, 3, 5, 3, 3, 0]
    assert "has no request" in replies[3].error.message
    assert len(replies[5].response.results) == 1


def test_junk_in_a_message_is_that_messages_error(server: str) -> None:
    with Wire(server) as wire:
        wire.open(1, head(CLASSIFY_STREAM))
        good = framed(_request(0).SerializeToString())
        wire.data(1, good + framed(b"\xff\xff\xff") + good, ended=True)

        answer = wire.answer(1)

    replies = [pb.ClassifyStreamResponse.FromString(message) for message in answer.messages]
    assert (answer.status, [reply.error.code for reply in replies]) == (0, [0, 3, 0])


def test_an_answer_comes_before_the_next_request(stub: classifier_pb2_grpc.ClassifierStub) -> None:
    may_go_on = threading.Semaphore(1)

    def requests() -> Iterator[pb.ClassifyStreamRequest]:
        for number in range(20):
            assert may_go_on.acquire(timeout=60)
            yield _request(number)

    for number, reply in enumerate(stub.ClassifyStream(requests(), timeout=60)):
        assert reply.id == f"number {number}"
        may_go_on.release()
    assert number == 19


def test_a_stream_without_messages_ends_well(stub: classifier_pb2_grpc.ClassifierStub) -> None:
    assert list(stub.ClassifyStream(iter(()), timeout=60)) == []


def test_a_half_closed_stream_is_answered_to_its_end(server: str) -> None:
    requests = b"".join(framed(_request(number).SerializeToString()) for number in range(200))
    with Peer(server, INITIAL_WINDOW_SIZE=0) as peer:
        peer.fence()
        stream_id = peer.begin(CLASSIFY_STREAM, requests)  # all of it, before anything is read
        peer.fence()
        assert not peer.so_far(stream_id).data

        peer.widen(stream_id, 1 << 20)
        peer.widen(0, 1 << 20)
        answer = peer.answer(stream_id)

    assert answer.status == 0
    ids = [pb.ClassifyStreamResponse.FromString(message).id for message in answer.messages]
    assert ids == [f"number {number}" for number in range(200)]


def test_a_client_that_never_reads_is_slowed_down_and_others_go_on(server: str) -> None:
    request = framed(_request(0, bytes(3072 * 10)).SerializeToString())
    with Peer(server, INITIAL_WINDOW_SIZE=0) as deaf, Peer(server) as other:
        deaf.fence()
        stream_id = deaf.begin(CLASSIFY_STREAM, ended=False)
        sent = 0
        while deaf.h2.local_flow_control_window(stream_id) >= len(request):
            deaf.send(stream_id, request)
            sent += len(request)
            deaf.fence()
            assert sent < 2 * WINDOW

        assert other.answer(other.begin(LIST_MODELS, EMPTY_MESSAGE)).status == 0
        assert not deaf.so_far(stream_id).data
    assert sent >= WINDOW // 2


def test_a_deadline_ends_the_whole_stream(stub: classifier_pb2_grpc.ClassifierStub) -> None:
    never = threading.Event()

    def requests() -> Iterator[pb.ClassifyStreamRequest]:
        yield _request(0)
        never.wait(60)

    call = stub.ClassifyStream(requests(), timeout=0.5)
    try:
        assert next(call).id == "number 0"
        with pytest.raises(grpc.RpcError) as ended:
            next(call)
    finally:
        never.set()
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_streams_that_are_cancelled_in_the_middle_leave_the_others_alone(
    stub: classifier_pb2_grpc.ClassifierStub,
) -> None:
    for _ in range(50):
        call = stub.ClassifyStream((_request(number) for number in itertools.count()), timeout=60)
        next(call)
        call.cancel()

    assert len(list(stub.ClassifyStream(iter([_request(0)] * 10), timeout=60))) == 10


def test_a_stop_answers_what_was_received_and_then_says_unavailable(repository: Path, tmp_path: Path) -> None:
    process = ServerProcess("--models", str(repository), log=tmp_path / "log")
    process.start()
    with Wire(process.address, {4: WINDOW}) as wire:
        wire.open(1, head(CLASSIFY_STREAM))
        for number in range(100):
            wire.data(1, framed(_request(number, bytes(3072 * 3)).SerializeToString()))
        wire.fence()  # the server has all of them

        process.terminate()
        answer = wire.answer(1)

        ids = [pb.ClassifyStreamResponse.FromString(message).id for message in answer.messages]
        assert ids == [f"number {number}" for number in range(100)]
        assert answer.status == UNAVAILABLE
        assert wire.goodbye().error_code == 0
        wire.socket.close()
        assert process.wait() == 0
