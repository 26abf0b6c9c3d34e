"""A real server follows the specification of gRPC over HTTP/2, by clients that share no code with it."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import grpc
import pytest
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame

from cifar10net.pb import classifier_pb2 as pb
from service.server.spawn import ServerProcess
from tests.service.raw_client import (
    CHECK,
    CLASSIFY,
    CLASSIFY_STREAM,
    EMPTY_MESSAGE,
    LIST_MODELS,
    WATCH,
    Answer,
    Wire,
    bomb,
    framed,
    head,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OK, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, RESOURCE_EXHAUSTED, UNIMPLEMENTED = 0, 3, 4, 5, 8, 12
ONE_IMAGE = pb.ClassifyRequest(packed_pixels=bytes(3072)).SerializeToString()


@pytest.fixture
def wire(server: str) -> Iterator[Wire]:
    """A connection that is still good for a call when the test is over."""
    with Wire(server) as wire:
        yield wire
        assert wire.ask(9_999).status == OK


def _ask(wire: Wire, path: str, data: bytes, *fields: tuple[str, str]) -> Answer:
    wire.open(1, head(path, *fields))
    wire.data(1, data, ended=True)
    return wire.answer(1)


@pytest.mark.parametrize(
    "path", ["/", "/x", "/cifar10net.v1.Classifier/Nothing", "/a.B/C", "*", "/" + "x" * 900]
)
def test_a_method_that_does_not_exist_is_unimplemented_and_trailers_only(wire: Wire, path: str) -> None:
    answer = _ask(wire, path, EMPTY_MESSAGE)

    assert answer.head[":status"] == "200"
    assert answer.head["content-type"] == "application/grpc"
    assert (answer.status, answer.trailers, answer.data) == (UNIMPLEMENTED, {}, b"")
    assert path[:150] in answer.reason


@pytest.mark.parametrize("kind", ["text/html", "application/grpcx", "application/grpc+json", ""])
def test_another_content_type_is_415(wire: Wire, kind: str) -> None:
    wire.open(1, head(LIST_MODELS, ("content-type", kind), without=["content-type"]), ended=True)

    assert wire.answer(1).head[":status"] == "415"


@pytest.mark.parametrize("kind", ["application/grpc+proto", "application/grpc;charset=utf-8"])
def test_grpcs_content_types_are_answered(wire: Wire, kind: str) -> None:
    wire.open(1, head(LIST_MODELS, ("content-type", kind), without=["content-type"]))
    wire.data(1, EMPTY_MESSAGE, ended=True)

    assert wire.answer(1).status == OK


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS", "post"])
def test_another_method_than_post_is_405(wire: Wire, method: str) -> None:
    wire.open(1, [(":method", method), *head(without=[":method"])], ended=True)

    assert wire.answer(1).head[":status"] == "405"


@pytest.mark.parametrize("timeout", ["", "1", "S", "1s", "-1S", "1.5S", "123456789S", "1SS", " 1S"])
def test_a_malformed_timeout_is_refused(wire: Wire, timeout: str) -> None:
    answer = _ask(wire, LIST_MODELS, EMPTY_MESSAGE, ("grpc-timeout", timeout))

    assert answer.status == INVALID_ARGUMENT
    assert "wanted up to 8 digits" in answer.reason


@pytest.mark.parametrize("timeout", ["99999999H", "1H", "1M", "60S", "60000m", "60000000u", "99999999u"])
def test_a_timeout_in_any_unit_is_taken(wire: Wire, timeout: str) -> None:
    assert _ask(wire, LIST_MODELS, EMPTY_MESSAGE, ("grpc-timeout", timeout)).status == OK


@pytest.mark.parametrize("timeout", ["0S", "1n", "1u", "1m", "50m"])
@pytest.mark.parametrize("path", [CLASSIFY, CLASSIFY_STREAM, WATCH])
def test_a_call_ends_at_its_deadline_although_its_request_does_not(
    wire: Wire, path: str, timeout: str
) -> None:
    wire.open(1, head(path, ("grpc-timeout", timeout)))

    answer = wire.answer(1)
    assert answer.status == DEADLINE_EXCEEDED
    assert answer.reason == "the deadline passed before the answer was ready"


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_request_is_answered(wire: Wire, name: str, pack: Callable[[bytes], bytes]) -> None:
    packed = framed(pack(ONE_IMAGE), compressed=True)

    answer = _ask(wire, CLASSIFY, packed, ("grpc-encoding", name))

    assert answer.status == OK
    assert len(pb.ClassifyResponse.FromString(answer.messages[0]).results) == 1


def test_a_message_may_be_plain_although_the_encoding_is_not(wire: Wire) -> None:
    assert _ask(wire, CLASSIFY, framed(ONE_IMAGE), ("grpc-encoding", "gzip")).status == OK


def test_an_unknown_encoding_is_unimplemented_and_the_answer_names_the_known_ones(wire: Wire) -> None:
    answer = _ask(wire, LIST_MODELS, EMPTY_MESSAGE, ("grpc-encoding", "snappy"))

    assert answer.status == UNIMPLEMENTED
    assert answer.head["grpc-accept-encoding"] == "identity,deflate,gzip"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no message"),
        (EMPTY_MESSAGE * 2, "several messages"),
        (framed(ONE_IMAGE)[:-1], "in the middle of a message"),
        (EMPTY_MESSAGE[:3], "in the middle of a message"),
        (framed(ONE_IMAGE) + b"\0", "in the middle of a message"),
        (b"\2\0\0\0\0", "flag 2"),
        (framed(b"\1", compressed=True), "names no compression"),
        (framed(b"\xff\xff"), "not the method's request message"),
    ],
    ids=str,
)
def test_a_request_that_is_not_one_message_is_refused(wire: Wire, data: bytes, reason: str) -> None:
    answer = _ask(wire, CLASSIFY, data)

    assert answer.status == INVALID_ARGUMENT
    assert reason in answer.reason


@pytest.mark.parametrize(
    "packed",
    [b"", b"junk", gzip.compress(ONE_IMAGE)[:-4], zlib.compress(ONE_IMAGE)],
    ids=["empty", "junk", "torn", "deflate"],
)
def test_damaged_compression_is_refused(wire: Wire, packed: bytes) -> None:
    answer = _ask(wire, CLASSIFY, framed(packed, compressed=True), ("grpc-encoding", "gzip"))

    assert answer.status == INVALID_ARGUMENT
    assert "damaged" in answer.reason


def test_damaged_compression_is_the_error_of_one_message_of_a_stream(wire: Wire) -> None:
    empty = pb.ClassifyStreamRequest(id="empty").SerializeToString()
    other = framed(gzip.compress(empty), compressed=True)

    data = other + framed(b"junk", compressed=True) + other
    answer = _ask(wire, CLASSIFY_STREAM, data, ("grpc-encoding", "gzip"))

    replies = [pb.ClassifyStreamResponse.FromString(message) for message in answer.messages]
    assert answer.status == 0
    assert [reply.id for reply in replies] == ["empty", "", "empty"]
    assert [reply.error.code for reply in replies] == [INVALID_ARGUMENT] * 3
    assert "damaged" in replies[1].error.message


def test_a_request_of_very_many_images_is_refused_before_it_is_parsed(wire: Wire) -> None:
    bomb = gzip.compress(b"\x22\x00" * (15 << 20))  # 30 KiB on the wire, 800 MB if it were parsed

    answer = _ask(wire, CLASSIFY, framed(bomb, compressed=True), ("grpc-encoding", "gzip"))

    assert answer.status == INVALID_ARGUMENT
    assert answer.reason.startswith("the request has more than 4,096 images")


def test_a_request_without_data_that_ends_with_its_head_is_refused(wire: Wire) -> None:
    wire.open(1, head(CLASSIFY), ended=True)

    assert wire.answer(1).status == INVALID_ARGUMENT


def test_a_message_over_the_limit_is_refused_before_it_is_sent(wire: Wire) -> None:
    wire.open(1, head(CLASSIFY))
    wire.data(1, struct.pack(">BL", 0, (32 << 20) + 1))

    answer = wire.answer(1)
    assert answer.status == RESOURCE_EXHAUSTED
    assert answer.head["grpc-retry-pushback-ms"] == "-1"


def test_an_empty_frame_may_end_the_request(wire: Wire) -> None:
    wire.open(1, head(CLASSIFY))
    wire.data(1, b"")
    wire.data(1, framed(ONE_IMAGE))
    wire.data(1, b"", ended=True)

    assert wire.answer(1).status == OK


def test_a_message_may_come_byte_by_byte(wire: Wire) -> None:
    request = framed(ONE_IMAGE)
    wire.open(1, head(CLASSIFY))
    wire.send(*[DataFrame(1, request[at : at + 1]) for at in range(len(request) - 1)])
    wire.send(DataFrame(1, request[-1:], flags=["END_STREAM"]))

    assert wire.answer(1).status == OK


def test_a_frame_may_hold_many_messages(wire: Wire) -> None:
    requests = [pb.ClassifyStreamRequest(id=str(number)) for number in range(500)]

    answer = _ask(
        wire, CLASSIFY_STREAM, b"".join(framed(request.SerializeToString()) for request in requests)
    )

    assert answer.status == OK
    replies = [pb.ClassifyStreamResponse.FromString(message) for message in answer.messages]
    assert [reply.id for reply in replies] == [request.id for request in requests]


def test_metadata_of_any_kind_changes_nothing(wire: Wire) -> None:
    fields = [("trace-bin", "AAECAw"), ("x-many", "1"), ("x-many", "2"), ("x-empty", ""), ("x-space", " a ")]

    assert _ask(wire, LIST_MODELS, EMPTY_MESSAGE, *fields).status == OK


def test_a_head_in_many_frames_is_one_head(wire: Wire) -> None:
    block = wire.encoder.encode(head(LIST_MODELS, ("x-long", "v" * 9_000)), huffman=False)
    wire.send(HeadersFrame(1, block[:1]))
    wire.send(*[ContinuationFrame(1, block[at : at + 100]) for at in range(1, len(block), 100)])
    wire.send(ContinuationFrame(1, b"", flags=["END_HEADERS"]))
    wire.data(1, EMPTY_MESSAGE, ended=True)

    assert wire.answer(1).status == OK


@pytest.mark.parametrize("size", [17 << 10, 120 << 10])
def test_metadata_over_16_kib_is_refused(wire: Wire, size: int) -> None:
    block = wire.encoder.encode(head(LIST_MODELS, ("x-long", "v" * size)), huffman=False)
    starts = range(0, len(block), 16_000)
    wire.send(HeadersFrame(1, b""))
    wire.send(*[ContinuationFrame(1, block[at : at + 16_000]) for at in starts])
    wire.send(ContinuationFrame(1, b"", flags=["END_HEADERS"]))

    answer = wire.answer(1)
    assert answer.status == RESOURCE_EXHAUSTED
    assert answer.head["grpc-retry-pushback-ms"] == "-1"


def test_metadata_far_over_16_kib_ends_the_connection(server: str) -> None:
    with Wire(server) as wire:
        for stream_id in (1, 3, 5, 7):  # all but the first are short, and refer to the table
            fields = [(f"x-{number % 30}", "v" * 100) for number in range(1000)]
            wire.open(stream_id, head(LIST_MODELS, *fields), ended=True)

        assert wire.goodbye().error_code == 11  # ENHANCE_YOUR_CALM


def test_metadata_over_16_kib_costs_a_grpc_client_one_call_and_not_its_connection(server: str) -> None:
    with grpc.insecure_channel(server) as channel:
        call: Any = channel.unary_unary(LIST_MODELS)
        call(b"", timeout=60)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=60, metadata=[("x-long", "v" * (17 << 10))])
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        call(b"", timeout=60)


@pytest.mark.parametrize("name", ["naïve", "50% off", "línea\n", "犬", "\x7f"])
def test_a_reason_is_percent_encoded(wire: Wire, name: str) -> None:
    request = pb.ClassifyRequest(packed_pixels=bytes(3072), model=name).SerializeToString()

    answer = _ask(wire, CLASSIFY, framed(request))

    assert answer.status == NOT_FOUND
    assert answer.reason.isascii()
    assert answer.reason.isprintable()
    assert repr(name) in unquote(answer.reason)


def test_a_reason_fits_into_a_frame_however_long_the_cause(wire: Wire) -> None:
    request = pb.ClassifyRequest(packed_pixels=bytes(3072), model="\n犬" * 100_000).SerializeToString()

    assert _ask(wire, CLASSIFY, framed(request)).status == NOT_FOUND


def test_a_good_answer_has_a_head_a_message_and_trailers(wire: Wire) -> None:
    answer = _ask(wire, CHECK, EMPTY_MESSAGE)

    assert answer.head == {":status": "200", "content-type": "application/grpc"}
    assert answer.messages == [b"\x08\x01"]  # SERVING
    assert answer.trailers == {"grpc-status": "0", "cifar10net-providers": "CPUExecutionProvider"}


@pytest.fixture
def apart(repository: Path) -> Iterator[ServerProcess]:
    """A server of the test's own."""
    with ServerProcess("--models", str(repository), "--log-level", "error") as process:
        yield process


def _peak_kib(process: ServerProcess) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text().split("VmHWM:")[1]
    return int(status.split()[0])


def test_bombs_are_refused_for_good_in_little_memory(apart: ServerProcess) -> None:
    with Wire(apart.address) as wire:
        assert wire.ask(1).status == OK
        before = _peak_kib(apart)
        for number, (encoding, data) in enumerate(
            (name, bomb(wbits)) for name, wbits in (("gzip", 31), ("deflate", 15)) for _ in range(3)
        ):
            stream_id = 3 + 2 * number
            wire.open(stream_id, head(CLASSIFY, ("grpc-encoding", encoding)))
            wire.data(stream_id, framed(data, compressed=True), ended=True)
        for stream_id in range(3, 15, 2):
            answer = wire.answer(stream_id)
            assert answer.status == RESOURCE_EXHAUSTED
            assert answer.head["grpc-retry-pushback-ms"] == "-1"
        assert wire.ask(99).status == OK
    assert _peak_kib(apart) - before < 400 << 10
