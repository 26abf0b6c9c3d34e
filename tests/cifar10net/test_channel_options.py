"""Load balancing, retries, hedging and traces of the clients."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from cifar10net import Access, AsyncClient, Client, ClientConfig, ClientError, ConfigError
from service.server.spawn import ServerProcess
from tests.cifar10net.scripted import Script, answer, numbered, then
from tests.service.installations import NOT_IN_A_CLIENT
from tests.service.security.authority import Authority

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cifar10net import ImageResult
    from cifar10net.pb import classifier_pb2 as pb
    from tests.cifar10net.scripted import ScriptedServer

    Start = Callable[..., ScriptedServer]

Status = grpc.StatusCode
ONE = np.zeros((1, 32, 32, 3), np.uint8)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def _once() -> bool:
    return True


def _blocking(
    server: Any,
    config: ClientConfig | None = None,
    *,
    is_enough: Callable[[], bool] = _once,
    **asked: Any,
) -> list[ImageResult]:
    """Repeat a call until it is enough."""
    with Client(server, config) as client:
        results = client.classify(ONE, **asked)
        while not is_enough():
            results += client.classify(ONE, **asked)
    return results


def _asynchronous(
    server: Any,
    config: ClientConfig | None = None,
    *,
    is_enough: Callable[[], bool] = _once,
    **asked: Any,
) -> list[ImageResult]:
    async def main() -> list[ImageResult]:
        async with AsyncClient(server, config) as client:
            results = await client.classify(ONE, **asked)
            while not is_enough():
                results += await client.classify(ONE, **asked)
        return results

    return asyncio.run(main())


either = pytest.mark.parametrize("classify", [_blocking, _asynchronous], ids=["Client", "AsyncClient"])


def _refusing(code: grpc.StatusCode, times: int, pushback_ms: int | None) -> Script:
    """Return a script that refuses so many calls."""
    script = Script()

    def call(request: pb.ClassifyRequest, context: Any) -> pb.ClassifyResponse:
        if len(script.requests) <= times:
            if pushback_ms is not None:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", str(pushback_ms)),))
            context.abort(code, "not now")
        return answer(request)

    script.call = call
    return script


@either
def test_several_addresses_are_asked_in_turns(scripted: Start, classify: Callable[..., Any]) -> None:
    servers = [scripted(), scripted(), scripted()]
    addresses = [server.address for server in servers]

    def asked_often() -> bool:
        return all(len(server.script.requests) > 3 for server in servers)

    results = classify(addresses, is_enough=asked_often)  # else it never ends

    assert sum(len(server.script.requests) for server in servers) == len(results)
    assert len(classify(",".join(addresses))) == 1


@either
def test_an_address_that_nobody_answers_at_costs_no_call(
    scripted: Start, classify: Callable[..., Any]
) -> None:
    server = scripted()

    results = classify(["127.0.0.1:1", server.address], is_enough=lambda: len(server.script.requests) == 10)

    assert len(results) == 10


def test_a_stream_goes_on_at_another_address(scripted: Start) -> None:
    servers = [scripted(), scripted()]
    for server in servers:
        server.script.lines = [then(1, Status.UNAVAILABLE, 0)]  # which every stream ends with

    with Client([server.address for server in servers]) as client:
        results = list(client.classify_stream(numbered(20), in_flight=2))

    assert [result.best.index for result in results] == list(range(20))
    assert all(server.script.streams for server in servers)


@pytest.mark.parametrize("server", ["127.0.0.1:1,[::1]:2", "localhost:1,127.0.0.1:2", "127.0.0.1:1,", []])
def test_lists_of_addresses_are_checked(server: Any) -> None:
    with pytest.raises(ConfigError, match="wanted"):
        Client(server)


def test_several_addresses_with_tls_share_the_name_of_a_certificate(repository: Path, tmp_path: Path) -> None:
    authority = Authority()
    cert, key = authority.server().write(tmp_path, "server")
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.pem)
    unnamed = ClientConfig(access=Access(ca=ca))
    config = ClientConfig(access=Access(ca=ca, server_name="localhost"))
    options = ("--models", str(repository), "--tls-cert", str(cert), "--tls-key", str(key))
    with ServerProcess(*options, log=tmp_path / "log", access=config.access) as process:
        addresses = ["127.0.0.1:1", process.address]

        assert len(_blocking(addresses, config)) == 1
        with pytest.raises(ConfigError, match="several addresses with TLS: wanted server_name"):
            Client(addresses, unnamed)


@either
def test_a_busy_server_is_asked_again_when_it_says(scripted: Start, classify: Callable[..., Any]) -> None:
    server = scripted(_refusing(Status.RESOURCE_EXHAUSTED, times=2, pushback_ms=1))

    assert len(classify(server.address)) == 1
    assert len(server.script.requests) == 3


@either
def test_a_call_that_the_server_never_wants_again_is_not_repeated(
    scripted: Start, classify: Callable[..., Any]
) -> None:
    server = scripted(_refusing(Status.RESOURCE_EXHAUSTED, times=2, pushback_ms=-1))

    with pytest.raises(ClientError, match="answered RESOURCE_EXHAUSTED: not now"):
        classify(server.address)

    assert len(server.script.requests) == 1


@either
def test_a_late_call_is_hedged_to_another_address_if_wanted(
    scripted: Start, classify: Callable[..., Any]
) -> None:
    servers = [scripted(), scripted()]
    late, may_answer = threading.Event(), threading.Event()
    asked: list[ScriptedServer] = []

    def be(server: ScriptedServer) -> None:
        def call(request: pb.ClassifyRequest, _: Any) -> pb.ClassifyResponse:
            asked.append(server)
            if all(each in asked for each in servers) and not late.is_set():  # both are connected
                late.set()
                may_answer.wait(60)
            return answer(request)

        server.script.call = call

    for server in servers:
        be(server)
    try:
        results = classify(
            [server.address for server in servers], ClientConfig(hedge_after_s=0.2), is_enough=late.is_set
        )
    finally:
        may_answer.set()

    assert all(result.best.index == 0 for result in results)
    assert asked[-1] is not asked[-2]


@either
def test_a_second_call_that_is_refused_leaves_the_first_alone(
    scripted: Start, classify: Callable[..., Any]
) -> None:
    server = scripted()
    first, refused = threading.Lock(), threading.Event()

    def call(request: pb.ClassifyRequest, context: Any) -> pb.ClassifyResponse:
        if not first.acquire(blocking=False):
            refused.set()
            context.abort(Status.UNAVAILABLE, "not now")
        assert refused.wait(60)
        return answer(request)

    server.script.call = call

    results = classify(server.address, ClientConfig(hedge_after_s=0.05, max_attempts=1))

    assert results[0].best.index == 0


@either
def test_nothing_is_asked_twice_by_default(scripted: Start, classify: Callable[..., Any]) -> None:
    server = scripted()
    may_answer = threading.Event()

    def call(request: pb.ClassifyRequest, _: Any) -> pb.ClassifyResponse:
        may_answer.wait(60)
        return answer(request)

    server.script.call = call
    try:
        with pytest.raises(ClientError) as caught:
            classify(server.address, ClientConfig(deadline_s=0.5))
    finally:
        may_answer.set()

    assert caught.value.code is Status.DEADLINE_EXCEEDED
    assert len(server.script.requests) <= 1


@either
def test_calls_carry_the_trace_that_is_given(scripted: Start, classify: Callable[..., Any]) -> None:
    server = scripted()

    classify(server.address, traceparent=TRACEPARENT, tracestate="us=1")

    assert server.script.metadata[0]["traceparent"] == TRACEPARENT
    assert server.script.metadata[0]["tracestate"] == "us=1"


def test_calls_and_streams_stand_below_the_current_span(scripted: Start) -> None:
    trace = pytest.importorskip("opentelemetry.trace", reason="the extra otel is not installed")
    server = scripted()
    context = trace.SpanContext(
        0xAF7651916CD43DD8448EB211C80319C,
        0xB7AD6B7169203331,
        is_remote=False,
        trace_flags=trace.TraceFlags(1),
    )

    with Client(server.address) as client, trace.use_span(trace.NonRecordingSpan(context)):
        client.classify(ONE)
        list(client.classify_stream(ONE))
        client.models()
    with Client(server.address) as client:
        client.classify(ONE)

    assert [each.get("traceparent") for each in server.script.metadata] == [TRACEPARENT] * 3 + [None]


def test_a_keyword_that_does_not_exist_is_refused(scripted: Start) -> None:
    with Client(scripted().address) as client, pytest.raises(TypeError, match="topk"):
        client.classify(ONE, topk=1)  # type: ignore[call-arg]


_ASK = """
import sys
sys.modules.update(dict.fromkeys({names!r}))
from cifar10net import Client
with Client({server!r}) as client:
    images = [bytes(3072)] * 3
    print(len(client.classify(images)), len(list(client.classify_stream(images))), len(client.models()))
"""


def test_asking_needs_no_runtime_and_nothing_of_the_server(server: str) -> None:
    code = _ASK.format(names=NOT_IN_A_CLIENT, server=server)

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "3 3 2\n", "")


def test_a_command_that_needs_more_than_the_client_says_what(server: str) -> None:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({NOT_IN_A_CLIENT!r}))\n"
        f"sys.argv = ['cifar10net', 'models', '--server', {server!r}]\n"
        "from service.cli import main; main()"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith("error: this needs the package rich")
