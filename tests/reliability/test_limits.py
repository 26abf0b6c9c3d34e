"""Limits of connections and calls: clients within them never notice, others get an error."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hyperframe.frame import SettingsFrame

from cifar10net.pb import classifier_pb2 as pb
from cifar10net.pb import classifier_pb2_grpc
from tests.commands import run
from tests.reliability.callers import Caller, Status, all_go_on, at_work, until
from tests.reliability.servers import sockets
from tests.service.raw_client import WATCH, Wire, framed, head

if TYPE_CHECKING:
    from pathlib import Path

    from tests.reliability.account import Account
    from tests.reliability.conftest import Start
    from tests.reliability.pictures import Pictures

ONE_IMAGE = pb.ClassifyRequest(packed_pixels=bytes(3072))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_connections_come_of_age_again_and_again_and_no_call_is_lost(
    start: Start, pictures: Pictures, account: Account, workers: int
) -> None:
    server = start("--max-connection-age-s", 0.5, "--workers", workers)
    seen: set[str] = set()

    def look() -> int:
        for pid in server.workers() or [server.pid]:
            seen.update(sockets(pid))
        return len(seen)

    async def main() -> None:
        # As gRPC does by default: a call that was about to be sent when the goodbye came is sent elsewhere.
        callers = [Caller(server.address, pictures, account, images=n, repeats=True) for n in (1, 1, 8, 64)]
        async with at_work(*callers, rest_s=0.005):
            await all_go_on(*callers)
            before = look()
            await until(lambda: look() >= before + 3 * len(callers), "three more connections of each")

    asyncio.run(main())

    assert server.stop() == 0


@pytest.mark.slow
def test_an_idle_client_is_disconnected_and_comes_back(
    start: Start, pictures: Pictures, account: Account
) -> None:
    server = start("--max-connection-idle-s", 0.5)

    async def main() -> None:
        async with Caller(server.address, pictures, account) as caller:
            for _ in range(2):
                assert await caller.ask() is Status.OK
                await until(
                    lambda: caller.channel.get_state() is grpc.ChannelConnectivity.IDLE, "the parting"
                )

    asyncio.run(main())


def _watch(address: str, timeout_s: float) -> grpc.RpcError:
    """Ping once a second while a stream is silent, and return how the stream ends."""
    options = [
        ("grpc.keepalive_time_ms", 1_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    with grpc.insecure_channel(address, options=options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        stream = stub.Watch(health_pb2.HealthCheckRequest(), timeout=timeout_s)  # type: ignore[attr-defined]
        with pytest.raises(grpc.RpcError) as caught:
            list(stream)
        return caught.value


@pytest.mark.slow
def test_clients_that_ping_too_often_are_disconnected_with_a_reason_and_others_stay(start: Start) -> None:
    strict, kind = start(), start("--min-ping-interval-s", 0.2)

    with ThreadPoolExecutor() as pool:
        watching = pool.submit(_watch, strict.address, 60)
        lived = _watch(kind.address, 5)
        ended = watching.result()

    assert lived.code() is Status.DEADLINE_EXCEEDED

    assert ended.code() is Status.UNAVAILABLE
    assert "too_many_pings" in str(ended.details())
    assert not kind.events("connection broken off")
    [line] = strict.events("connection broken off")
    assert (line["status"], line["reason"]) == ("ENHANCE_YOUR_CALM", "too_many_pings")


def test_a_connection_has_as_many_calls_as_it_may(start: Start) -> None:
    server = start("--max-streams", 2)

    with Wire(server.address) as wire:
        for stream_id in (1, 3, 5):
            wire.open(stream_id, head(WATCH))
            wire.data(stream_id, framed(b""), ended=True)
        assert wire.answer(5).reset == 7  # REFUSED_STREAM: it may be sent again
        settings = next(frame for frame in wire.frames if isinstance(frame, SettingsFrame))
        assert settings.settings[3] == 2


def test_messages_and_images_of_a_call_have_their_limits(start: Start) -> None:
    server = start("--max-message-mib", 1, "--max-call-images", 10)

    with grpc.insecure_channel(server.address) as channel:
        stub = classifier_pb2_grpc.ClassifierStub(channel)
        for n, code, reason in (
            (11, Status.INVALID_ARGUMENT, "the request has 11 images, expected 1 to 10; split longer lists"),
            (342, Status.RESOURCE_EXHAUSTED, "more than the 1,048,576"),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Classify(pb.ClassifyRequest(packed_pixels=bytes(3072 * n)))
            assert caught.value.code() is code
            assert reason in str(caught.value.details())
        assert len(stub.Classify(pb.ClassifyRequest(packed_pixels=bytes(30_720))).results) == 10
        requests = [pb.ClassifyRequest(packed_pixels=bytes(3072 * n)) for n in (10, 11, 1)]
        answers = list(stub.ClassifyStream(pb.ClassifyStreamRequest(request=each) for each in requests))
        assert [answer.error.code for answer in answers] == [0, Status.INVALID_ARGUMENT.value[0], 0]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--max-streams", 0), "max_streams is 0, wanted 1 to 65536"),
        (("--max-message-mib", 513), "max_message_mib is 513, wanted 1 to 512"),
        (("--max-message-mib", 300), "max_pending_mib is 512, wanted 600 to"),
        (("--max-call-images", 4_097), "max_call_images is 4097, wanted 1 to 4096"),
        (("--max-connection-age-s", -1), "max_connection_age_s is -1.0, wanted 0 to"),
        (("--max-connection-idle-s", -1), "max_connection_idle_s is -1.0, wanted 0 to"),
        (("--min-ping-interval-s", -1), "min_ping_interval_s is -1.0, wanted 0 to 86400"),
    ],
)
def test_limits_that_make_no_sense_are_refused(
    models: Path, options: tuple[object, ...], problem: str
) -> None:
    done = run("serve", "--port", 0, "--models", models, *options)

    assert (done.returncode, done.stdout) == (2, "")
    assert problem in done.stderr
