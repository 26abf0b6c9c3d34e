"""A real server, scraped over HTTP: it has counted exactly what was sent to it."""

from __future__ import annotations

import io
import json
import socket
import threading
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from PIL import Image

from cifar10net.pb import classifier_pb2 as pb
from cifar10net.pb import classifier_pb2_grpc
from service.server.health_check import check_health
from service.server.spawn import ServerProcess
from tests.service.observability.metrics.scraper import (
    PREFIX,
    Samples,
    fetch,
    parse_open_metrics,
    scrape,
    url_of,
    value,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Stub = classifier_pb2_grpc.ClassifierStub
COLOURS = {"model": "colours", "version": "1"}
CLASSIFY = {"method": "cifar10net.v1.Classifier/Classify"}
STREAM = {"method": "cifar10net.v1.Classifier/ClassifyStream"}


@pytest.fixture(scope="module", params=["1", "2"], ids=["lone", "of two workers"])
def started(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """Return the address of a server and the URL of its metrics."""
    log = tmp_path_factory.mktemp("log") / "log"
    options = ("--metrics-port", "0", "--cache-mib", "1", "--max-pending-images", "4096", "--instances", "1")
    with ServerProcess("--models", str(repository), "--workers", request.param, *options, log=log) as server:
        yield server.address, url_of(log)


def _raw(n: int, start: int = 0) -> bytes:
    """Make images of which no two are alike."""
    return b"".join(np.full((32, 32, 3), start + index, np.uint8).tobytes() for index in range(n))


def _pictures(good: int, bad: int) -> list[pb.Image]:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    return [
        *(pb.Image(encoded=buffer.getvalue()) for _ in range(good)),
        *(pb.Image(encoded=b"junk") for _ in range(bad)),
    ]


def _refused(ask: Callable[[], object]) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        ask()
    code: grpc.StatusCode = caught.value.code()
    return code


def _ask_all_sorts(channel: grpc.Channel) -> None:
    """Send what the test below counts."""
    stub = Stub(channel)
    for start in (0, 10, 20):
        stub.Classify(pb.ClassifyRequest(packed_pixels=_raw(5, start)), timeout=60)
    stub.Classify(pb.ClassifyRequest(packed_pixels=_raw(7, 20), model="colours"), timeout=60)  # 5 are known
    stub.Classify(pb.ClassifyRequest(packed_pixels=_raw(1, 100), model="shades", version="3"), timeout=60)
    for good, bad in ((2, 1), (0, 3)):
        stub.Classify(pb.ClassifyRequest(images=_pictures(good, bad)), timeout=60)
    assert _refused(lambda: stub.Classify(pb.ClassifyRequest(), timeout=60)).name == "INVALID_ARGUMENT"
    for _ in range(2):
        none = pb.ClassifyRequest(packed_pixels=_raw(2), model="none")
        assert _refused(lambda: stub.Classify(none, timeout=60)).name == "NOT_FOUND"  # noqa: B023 - called at once
    messages = [
        pb.ClassifyStreamRequest(request=pb.ClassifyRequest(packed_pixels=_raw(4, 200))),
        pb.ClassifyStreamRequest(request=pb.ClassifyRequest(packed_pixels=b"12")),
        pb.ClassifyStreamRequest(request=pb.ClassifyRequest(packed_pixels=_raw(4, 210))),
    ]
    assert len(list(stub.ClassifyStream(iter(messages), timeout=60))) == 3
    no_method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        "/cifar10net.v1.Classifier/NoSuch"
    )
    assert _refused(lambda: no_method(b"", timeout=60)).name == "UNIMPLEMENTED"


def test_counts_equal_what_was_sent(started: tuple[str, str]) -> None:
    address, url = started
    before = scrape(url)
    with grpc.insecure_channel(address) as channel:
        _ask_all_sorts(channel)
        told = {key: count - before.get(key, 0) for key, count in scrape(url).items()}

    assert _calls(told, **CLASSIFY) == {"OK": 7, "INVALID_ARGUMENT": 1, "NOT_FOUND": 2}
    assert _calls(told, **STREAM) == {"OK": 1}
    assert value(told, "call_duration_seconds_count", **CLASSIFY) == 10
    assert _counts(told, "requests_total", "outcome", **COLOURS) == {"ok": 8}
    assert _counts(told, "requests_total", "outcome", model="shades", version="3") == {"ok": 1}
    assert _counts(told, "requests_total", "outcome", model="") == {"invalid_argument": 2, "not_found": 2}
    assert _counts(told, "images_total", "outcome", **COLOURS) == {"ok": 32, "bad_image": 4}
    assert _counts(told, "images_total", "outcome", model="") == {"not_found": 4}
    assert _counts(told, "refusals_total", "reason", event="call refused") == {
        "INVALID_ARGUMENT": 2, "NOT_FOUND": 2,
    }  # fmt: skip
    assert _counts(told, "refusals_total", "reason", event="request refused") == {"HEAD": 1}
    # Pictures are decoded; all but the request without a good image are run; a part of one is known.
    assert value(told, "decode_seconds_count", **COLOURS) == 2
    for name in ("queue_seconds", "batch_wait_seconds", "compute_seconds"):
        assert value(told, f"{name}_count", **COLOURS) == 7, name
    assert value(told, "request_duration_seconds_count", outcome="ok", **COLOURS) == 8
    # The two pictures are alike and stand in one request: both are looked up in vain.
    assert _counts(told, "cache_images_total", "result", **COLOURS) == {"hit": 5, "miss": 27}
    assert value(told, "batch_images_sum", **COLOURS) == 27
    assert value(told, "runs_total", **COLOURS) == value(told, "batch_images_count", **COLOURS) <= 7
    parts = sum(
        value(told, name, **COLOURS)
        for name in (
            "decode_seconds_sum",
            "queue_seconds_sum",
            "batch_wait_seconds_sum",
            "compute_seconds_sum",
            "reply_seconds_total",
        )
    )
    assert 0 < parts < value(told, "request_duration_seconds_sum", outcome="ok", **COLOURS)


def _calls(told: Samples, **labels: str) -> dict[str, float]:
    return _counts(told, "calls_total", "code", **labels)


def _counts(told: Samples, name: str, by: str, **labels: str) -> dict[str, float]:
    """Return the values that are not zero, by one label."""
    return {
        dict(their)[by]: count
        for (each, their), count in told.items()
        if each == PREFIX + name and labels.items() <= dict(their).items() and count
    }


def test_states_show_while_they_last(started: tuple[str, str]) -> None:
    address, url = started
    is_over = threading.Event()

    def messages() -> Iterator[pb.ClassifyStreamRequest]:
        yield pb.ClassifyStreamRequest(request=pb.ClassifyRequest(packed_pixels=_raw(1, 250)))
        is_over.wait(60)

    with grpc.insecure_channel(address) as channel:
        stream = Stub(channel).ClassifyStream(messages(), timeout=60)
        next(stream)
        during = _scraped_once(url, connections=1, active_calls=1, active_streams=1)
        is_over.set()
        assert list(stream) == []
        after = _scraped_once(url, connections=1, active_calls=0, active_streams=0)

    assert value(during, "held_bytes") > value(after, "held_bytes") == 0
    for name in ("admitted_images", "waiting_images"):
        assert value(during, name) == value(after, name) == 0


def _scraped_once(url: str, **gauges: int) -> Samples:
    """Scrape until it is so; the connection of an earlier probe may still be closing."""
    while True:
        told = scrape(url)
        if {name: value(told, name) for name in gauges} == gauges:
            return told


def test_what_the_server_is_stands_in_infos(started: tuple[str, str]) -> None:
    _, url = started
    content_type, text = fetch(url, "application/openmetrics-text")

    families = {family.name: family for family in parse_open_metrics(text)}
    models = [sample.labels for sample in families["cifar10net_model"].samples]
    assert content_type.startswith("application/openmetrics-text")
    assert {(each["model"], each["version"]) for each in models} == {("colours", "1"), ("shades", "3")}
    assert {each["provider"] for each in models} == {"CPUExecutionProvider"}
    [build] = families["cifar10net_build"].samples
    assert all(build.labels.values())


def test_probes_and_junk_leave_their_mark(started: tuple[str, str]) -> None:
    address, url = started
    before = scrape(url)

    assert check_health(address, 60) == "SERVING"
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 60) as junk:
        junk.sendall(b"\x00" * 100)
        while junk.recv(4_096):
            pass

    told = scrape(url)
    check = {"method": "grpc.health.v1.Health/Check"}
    assert value(told, "calls_total", **check) == value(before, "calls_total", **check) + 1
    assert _counts(told, "refusals_total", "reason", event="connection broken off") == {"PROTOCOL_ERROR": 1}


def test_a_metrics_port_that_is_taken_ends_the_start_with_one_sentence(
    repository: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for workers in ("1", "2"):
            server = ServerProcess(
                "--models", str(repository), "--metrics-port", port, "--workers", workers, log=log
            )
            with pytest.raises(Exception, match="exit code 1"):
                server.start()

    sentence = (
        f"error: cannot listen on 127.0.0.1:{port}: Address already in use; "
        "choose another --metrics-host or --metrics-port"
    )
    assert log.read_text().splitlines() == [sentence, sentence]


def test_without_the_option_there_is_no_port(repository: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with ServerProcess("--models", str(repository), log=log):
        pass

    assert "metrics" not in [json.loads(line)["event"] for line in log.read_text().splitlines()]
