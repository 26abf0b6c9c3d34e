"""A collector gets the calls of real servers below their callers, with their parts and batches."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest

from cifar10net.pb import classifier_pb2 as pb
from cifar10net.pb import classifier_pb2_grpc
from tests.reliability.servers import Server
from tests.service.colours import fragile_model
from tests.service.observability.tracing.collector import Collector, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CLASSIFY = "cifar10net.v1.Classifier/Classify"
STREAM = "cifar10net.v1.Classifier/ClassifyStream"
PIXELS = bytes(3072)
INTERNAL, SERVER = 1, 2  # kinds of spans
CALLERS_SPAN = "b7ad6b7169203331"


def _trace(number: int) -> str:
    return f"{number:032x}"


def _from(number: int, *, flags: str = "01") -> tuple[tuple[str, str], ...]:
    return (("traceparent", f"00-{_trace(number)}-{CALLERS_SPAN}-{flags}"), ("tracestate", "vendor=1"))


@pytest.fixture(scope="module")
def picture(root: Path) -> bytes:
    return (root / "examples/images/dog.jpg").read_bytes()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")  # ms between exports
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    with Collector() as collector:
        yield collector


@pytest.fixture
def start(repository: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server. Ask for the collector before: the last spans are for it."""
    servers: list[Server] = []

    def start(*arguments: object) -> Server:
        server = Server(tmp_path / f"log-{len(servers)}", "--models", repository, *arguments)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.clean_up()


def _channel(address: str) -> grpc.Channel:
    return grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])


def _one(spans: list[Span], name: str, **facts: object) -> Span:
    [span] = [
        span for span in spans if span.name == name and all(getattr(span, key) == facts[key] for key in facts)
    ]
    return span


def _has(count: int, name: str) -> Callable[[list[Span]], bool]:
    return lambda spans: sum(span.name == name for span in spans) >= count


def test_calls_that_share_a_batch_are_traced_below_their_callers_and_linked(
    collector: Collector, start: Callable[..., Server], picture: bytes
) -> None:
    # A batch that waits for both of them.
    server = start(
        "--otlp-endpoint", collector.endpoint, "--trace-ratio", 0, "--max-batch", 2, "--max-queue-delay-s", 60
    )

    with _channel(server.address) as channel, ThreadPoolExecutor(2) as pool:
        stub = classifier_pb2_grpc.ClassifierStub(channel)
        requests = [
            pb.ClassifyRequest(packed_pixels=PIXELS),
            pb.ClassifyRequest(images=[pb.Image(encoded=picture)]),
        ]
        asked_ns = time.time_ns()
        asking = [
            pool.submit(stub.Classify, request, timeout=60, metadata=_from(number))
            for number, request in enumerate(requests, start=1)
        ]
        for each in asking:
            each.result()
    spans = collector.wait(_has(1, "batch"))

    batch = _one(spans, "batch")
    calls = [_one(spans, CLASSIFY, trace=_trace(number)) for number in (1, 2)]
    assert set(batch.links) == {call.place for call in calls}
    assert batch.trace not in {call.trace for call in calls}
    assert batch.attributes["cifar10net.images"] == 2
    assert batch.attributes["cifar10net.model"] == "colours"
    for call in calls:
        assert (call.parent, call.kind, call.state, call.is_error) == (
            CALLERS_SPAN, SERVER, "vendor=1", False,
        )  # fmt: skip
        assert asked_ns <= call.began_ns <= call.ended_ns
        assert call.attributes["rpc.system.name"] == "grpc"
        assert call.attributes["rpc.method"] == CLASSIFY
        assert call.attributes["rpc.response.status_code"] == "OK"
        assert call.attributes["network.peer.address"] == "127.0.0.1"
        assert (call.attributes["cifar10net.model"], call.attributes["cifar10net.images"]) == ("colours", 1)
        parts = sorted((span for span in spans if span.parent == call.id), key=lambda span: span.began_ns)
        wanted = ["queue", "compute"] if call.trace == _trace(1) else ["decode", "queue", "compute"]
        assert [part.name for part in parts] == wanted
        assert all(call.began_ns <= part.began_ns <= part.ended_ns <= call.ended_ns for part in parts)
        assert all(part.trace == call.trace for part in parts)
        compute = parts[-1]
        assert (compute.links, compute.kind) == ((batch.place,), INTERNAL)
        assert (compute.began_ns, compute.ended_ns) == (batch.began_ns, batch.ended_ns) or (
            abs(compute.began_ns - batch.began_ns) < 1_000_000  # the two calls' clocks were read apart
        )
    resource = batch.resource
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("cifar10net", "test")
    assert resource["service.version"]
    assert {span.resource["service.instance.id"] for span in spans} == {resource["service.instance.id"]}


def test_a_stream_has_a_span_for_each_request_with_its_parts(
    collector: Collector, start: Callable[..., Server]
) -> None:
    server = start("--otlp-endpoint", collector.endpoint, "--trace-ratio", 0)
    requests = [pb.ClassifyRequest(packed_pixels=PIXELS * size) for size in (1, 2)]
    requests.append(pb.ClassifyRequest(packed_pixels=PIXELS, model="none"))

    with _channel(server.address) as channel:
        stub = classifier_pb2_grpc.ClassifierStub(channel)
        messages = [pb.ClassifyStreamRequest(request=request) for request in requests]
        assert len(list(stub.ClassifyStream(iter(messages), timeout=60, metadata=_from(1)))) == 3
    spans = collector.wait(_has(1, STREAM))

    call = _one(spans, STREAM)
    assert (call.parent, call.trace) == (CALLERS_SPAN, _trace(1))
    assert call.attributes["cifar10net.requests"] == 3
    below = sorted((span for span in spans if span.parent == call.id), key=lambda span: span.began_ns)
    assert [span.name for span in below] == ["request"] * 3
    assert [span.attributes["cifar10net.images"] for span in below] == [1, 2, 1]
    codes = [span.attributes["rpc.response.status_code"] for span in below]
    assert codes == ["OK", "OK", "NOT_FOUND"]
    for request, parts in zip(below, (["compute", "queue"], ["compute", "queue"], []), strict=True):
        assert sorted(span.name for span in spans if span.parent == request.id) == parts


def test_a_call_that_fails_by_the_servers_fault_is_an_error_and_others_are_not(
    collector: Collector, start: Callable[..., Server], tmp_path: Path, add_model: Callable[..., Path]
) -> None:
    add_model(tmp_path / "fragile", content=fragile_model())
    server = start(
        "--models", tmp_path / "fragile", "--otlp-endpoint", collector.endpoint, "--trace-ratio", 0
    )

    with _channel(server.address) as channel:
        stub = classifier_pb2_grpc.ClassifierStub(channel)
        for number, pixels in enumerate((b"1", b"\xff" * 3072), start=1):
            with pytest.raises(grpc.RpcError):
                stub.Classify(pb.ClassifyRequest(packed_pixels=pixels), timeout=60, metadata=_from(number))
    spans = collector.wait(_has(2, CLASSIFY))

    told = {
        span.trace: (span.attributes["rpc.response.status_code"], span.is_error)
        for span in spans
        if span.name == CLASSIFY
    }
    assert told == {_trace(1): ("INVALID_ARGUMENT", False), _trace(2): ("INTERNAL", True)}


def test_both_workers_trace_their_calls_and_the_log_names_the_traces(
    collector: Collector, start: Callable[..., Server]
) -> None:
    server = start("--workers", 2, "--otlp-endpoint", collector.endpoint, "--trace-ratio", 1, "--log-calls")

    with _channel(server.address) as one, _channel(server.address) as another:
        for channel in (one, another):
            stub = classifier_pb2_grpc.ClassifierStub(channel)
            stub.Classify(pb.ClassifyRequest(packed_pixels=PIXELS), timeout=60)
    spans = collector.wait(lambda spans: _has(2, CLASSIFY)(spans) and _has(2, "batch")(spans))
    assert server.stop() == 0

    calls = [span for span in spans if span.name == CLASSIFY]
    assert len({call.resource["service.instance.id"] for call in calls}) == 2
    assert all(not call.parent for call in calls)
    for call in calls:
        batch = _one(spans, "batch", links=(call.place,))
        assert batch.resource == call.resource
    logged = {line["trace_id"] for line in server.events("call") if line["method"] == f"/{CLASSIFY}"}
    assert logged == {call.trace for call in calls}


def test_what_its_caller_does_not_trace_is_not_traced(
    collector: Collector, start: Callable[..., Server]
) -> None:
    server = start("--otlp-endpoint", collector.endpoint, "--trace-ratio", 1)

    with _channel(server.address) as channel:
        stub = classifier_pb2_grpc.ClassifierStub(channel)
        for metadata in (_from(1, flags="00"), _from(2)):
            stub.Classify(pb.ClassifyRequest(packed_pixels=PIXELS), timeout=60, metadata=metadata)
    assert server.stop() == 0  # which sends what is left

    assert {span.trace for span in collector.spans() if span.name == CLASSIFY} == {_trace(2)}


@pytest.fixture
def silent() -> Iterator[str]:
    """Listen, and never say a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.parametrize("collector_is", ["gone", "silent"])
def test_a_collector_that_does_not_answer_costs_calls_nothing_and_the_log_little(
    start: Callable[..., Server], silent: str, monkeypatch: pytest.MonkeyPatch, collector_is: str
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "50")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1000")
    endpoint = "http://127.0.0.1:1" if collector_is == "gone" else silent
    server = start("--otlp-endpoint", endpoint, "--trace-ratio", 1)

    with _channel(server.address) as channel:
        stub = classifier_pb2_grpc.ClassifierStub(channel)
        for _ in range(300):
            assert stub.Classify(pb.ClassifyRequest(packed_pixels=PIXELS), timeout=60).results
    assert server.stop() == 0

    assert len(server.events("tracing is in trouble")) <= 4
    assert any("Queue full" in line["reason"] for line in server.events("tracing is in trouble"))
    assert len(server.events("last spans lost")) == 1
    assert len(server.log()) < 20


def _start_failing(repository: Path, *arguments: object, **environment: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "service.cli", "serve", "--models", repository, "--port", "0"]
    done = subprocess.run(
        [*map(str, command), *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_without_the_extra_the_start_ends_with_one_sentence(
    repository: Path, tmp_path: Path, workers: int
) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ImportError('there is none')")

    code, said = _start_failing(
        repository, "--otlp-endpoint", "http://127.0.0.1:1", "--workers", workers, PYTHONPATH=str(tmp_path)
    )

    assert code == 1
    assert (
        "error: --otlp-endpoint needs the extra otel (there is none): pip install 'cifar10net[otel]'\n"
        in said
    )


def test_a_setting_of_opentelemetry_that_makes_no_sense_ends_the_start(repository: Path) -> None:
    code, said = _start_failing(
        repository, "--otlp-endpoint", "http://127.0.0.1:1", OTEL_EXPORTER_OTLP_TIMEOUT="soon"
    )

    assert code == 1
    assert said.startswith("error: tracing cannot start; check the variables OTEL_...: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--otlp-endpoint", "localhost:4317"),
            "the OTLP endpoint is 'localhost:4317', wanted http://HOST:PORT",
        ),
        (("--otlp-endpoint", "http://a:1", "--trace-ratio", "1.5"), "trace_ratio is 1.5, wanted 0 to 1"),
    ],
)
def test_settings_out_of_range_are_exit_code_2(
    repository: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    code, said = _start_failing(repository, *arguments)

    assert (code, said.count("\n")) == (2, 1)
    assert sentence in said
