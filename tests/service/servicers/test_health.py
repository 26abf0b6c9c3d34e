"""Health checks and watches, and reflection as v1 and v1alpha."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame

from cifar10net.pb import classifier_pb2 as pb
from service.rpc.server import RpcLimits, RpcServer
from service.servicers.health import HealthServicer
from tests.service.in_process import Line, settle
from tests.service.raw_client import CHECK, EMPTY_MESSAGE, WATCH, Wire, framed, head, unframed

if TYPE_CHECKING:
    from collections.abc import Iterator

LIST = "/grpc.health.v1.Health/List"
REFLECTION = "/grpc.reflection.{}.ServerReflection/ServerReflectionInfo"
UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN = range(4)
PROVIDERS = {"grpc-status": "0", "cifar10net-providers": "CPUExecutionProvider"}


@pytest.fixture
def wire(server: str) -> Iterator[Wire]:
    with Wire(server) as wire:
        yield wire


def test_a_check_answers_for_one_service(wire: Wire) -> None:
    request = health_pb2.HealthCheckRequest(service="cifar10net.v1.Classifier").SerializeToString()

    answer = wire.ask(1, CHECK, request)

    assert health_pb2.HealthCheckResponse.FromString(answer.messages[0]).status == SERVING
    assert answer.trailers == PROVIDERS


def test_a_list_answers_for_every_service_and_model(wire: Wire) -> None:
    answer = wire.ask(1, LIST)

    listed = health_pb2.HealthListResponse.FromString(answer.messages[0])  # type: ignore[attr-defined]
    assert {name: response.status for name, response in listed.statuses.items()} == dict.fromkeys(
        ("", "cifar10net.v1.Classifier", "inference.GRPCInferenceService", "colours", "shades"), SERVING
    )
    assert answer.trailers == PROVIDERS


def test_a_check_of_an_unknown_service_is_not_found_and_junk_is_invalid(wire: Wire) -> None:
    assert wire.ask(1, CHECK, health_pb2.HealthCheckRequest(service="none").SerializeToString()).status == 5
    assert wire.ask(3, CHECK, b"\xff").status == 3
    assert wire.ask(5, WATCH, b"\xff").status == 3


def _seen(line: Line, stream_id: int) -> list[int]:
    data = b"".join(frame.data for frame in line.frames(DataFrame) if frame.stream_id == stream_id)
    return [health_pb2.HealthCheckResponse.FromString(message).status for message in unframed(data)]


def test_a_model_is_asked_about_by_its_name(wire: Wire) -> None:
    request = health_pb2.HealthCheckRequest(service="shades").SerializeToString()

    answer = wire.ask(1, CHECK, request)

    assert health_pb2.HealthCheckResponse.FromString(answer.messages[0]).status == SERVING


def test_the_server_serves_while_a_model_comes_and_goes() -> None:
    async def main() -> None:
        health = HealthServicer(["known"])
        server = RpcServer(
            health.methods(), RpcLimits(max_message_bytes=1000, max_held_bytes=100_000, max_connections=10)
        )
        line = Line(server)
        for stream_id, service in ((1, ""), (3, "known"), (5, "net")):
            request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
            line.open(stream_id, WATCH)
            line.send(DataFrame(stream_id, framed(request), flags=["END_STREAM"]))
        await settle()
        health.set_models({"net": True})
        await settle()
        health.set_serving(["CPUExecutionProvider"])
        await settle()
        health.set_models({"net": False, "other": True})  # it is unloaded
        await settle()
        health.set_models({"other": True})  # it is gone
        await settle()
        health.set_models({"other": True, "net": True})
        await settle()
        health.set_not_serving()
        await settle()

        assert _seen(line, 1) == _seen(line, 3) == [NOT_SERVING, SERVING, NOT_SERVING]
        assert _seen(line, 5) == [
            SERVICE_UNKNOWN, NOT_SERVING, SERVING, NOT_SERVING, SERVICE_UNKNOWN, SERVING, NOT_SERVING,
        ]  # fmt: skip
        line.transport.close()
        await server.close()

    asyncio.run(main())


def test_a_model_with_the_name_of_a_service_does_not_change_its_status() -> None:
    health = HealthServicer(["known"])
    health.set_serving([])
    health.set_models({"known": False, "": False})

    assert health._status_of("known") == health._status_of("") == SERVING


def test_every_watcher_sees_every_change_and_none_outlives_the_server() -> None:
    async def main() -> None:
        health = HealthServicer(["known"])
        limits = RpcLimits(max_message_bytes=1000, max_held_bytes=200_000, max_connections=10)
        server = RpcServer(health.methods(), limits)
        lines = [Line(server) for _ in range(3)]
        for line in lines:
            for stream_id, service in ((1, ""), (3, "known"), (5, "unknown")):
                request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
                line.open(stream_id, WATCH)
                line.send(DataFrame(stream_id, framed(request), flags=["END_STREAM"]))
        await settle()
        health.set_serving(["CPUExecutionProvider"])
        await settle()
        lines[2].send(RstStreamFrame(1, 8))
        await settle()
        health.set_not_serving()
        health.set_not_serving()  # is no change
        await settle()

        for line in lines[:2]:
            assert _seen(line, 1) == _seen(line, 3) == [NOT_SERVING, SERVING, NOT_SERVING]
            assert _seen(line, 5) == [SERVICE_UNKNOWN]
        assert _seen(lines[2], 1) == [NOT_SERVING, SERVING]
        assert _seen(lines[2], 3) == [NOT_SERVING, SERVING, NOT_SERVING]
        assert len(health._watchers) == 8
        draining = asyncio.create_task(server.drain(20))
        await settle()
        assert not health._watchers
        assert server.calls == 0
        assert [sum("END_STREAM" in f.flags for f in line.frames(HeadersFrame)) for line in lines] == [
            3,
            3,
            2,
        ]
        for line in lines:
            line.transport.close()
        assert await draining
        assert server.held_bytes == 0
        await server.close()

    asyncio.run(main())


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_answers_request_by_request(wire: Wire, version: str) -> None:
    kind = reflection_pb2.ServerReflectionRequest
    requests = [
        kind(list_services=""),
        kind(file_containing_symbol="cifar10net.v1.Classifier"),
        kind(file_by_filename=pb.DESCRIPTOR.name),
        kind(file_containing_symbol="no.such.Symbol"),
        kind(file_containing_extension=reflection_pb2.ExtensionRequest(containing_type="no.Type")),
        kind(all_extension_numbers_of_type="no.Type"),
        kind(),
    ]
    wire.open(1, head(REFLECTION.format(version)))
    for request in requests:
        wire.data(1, framed(request.SerializeToString()))
    wire.data(1, b"", ended=True)

    answer = wire.answer(1)

    assert answer.status == 0
    replies = [reflection_pb2.ServerReflectionResponse.FromString(message) for message in answer.messages]
    services = {service.name for service in replies[0].list_services_response.service}
    assert {"cifar10net.v1.Classifier", "grpc.health.v1.Health"} < services
    assert replies[1].file_descriptor_response.file_descriptor_proto
    assert replies[2].file_descriptor_response.file_descriptor_proto
    assert [reply.error_response.error_code for reply in replies[3:]] == [5, 5, 5, 3]


def test_reflection_of_junk_is_refused(wire: Wire) -> None:
    wire.open(1, head(REFLECTION.format("v1")))
    wire.data(1, EMPTY_MESSAGE + framed(b"\xff"))

    assert wire.answer(1).status == 3
