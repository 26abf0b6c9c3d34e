"""GetStatistics and ModelStatistics report all workers together, whichever one is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest

from cifar10net import Client
from cifar10net.errors import ClientError
from cifar10net.pb import inference_pb2
from service.server.spawn import ServerProcess
from tests.inference_stub import InferenceStub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module", params=["1", "2"], ids=["lone", "two workers"])
def address(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Return the address of a server that was asked all sorts of things, and now for statistics alone."""
    log = tmp_path_factory.mktemp("log") / "log"
    options = ("--models", str(repository), "--workers", request.param, "--instances", "1")
    with ServerProcess(*options, log=log) as server:
        _ask(server.address)
        yield server.address


@pytest.fixture
def channels(address: str) -> Iterator[list[grpc.Channel]]:
    """Open four connections, which reach both workers."""
    opened = [
        grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(4)
    ]
    for channel in opened:
        grpc.channel_ready_future(channel).result(60)
    yield opened
    for channel in opened:
        channel.close()


def _ask(address: str) -> None:
    """Ask by eight connections, one after the other: they are shared out among the workers."""
    images = np.zeros((8, 32, 32, 3), np.uint8)
    for n in range(1, 9):
        with Client(address) as client:
            assert len(client.classify(images[:n])) == n
            client.classify([b"junk"])
    with Client(address) as client, pytest.raises(ClientError, match="NOT_FOUND"):
        client.classify(images[:2], model="none")


def test_statistics_are_of_the_whole_server(address: str) -> None:
    with Client(address) as client:
        found = client.statistics()

    unknown, colours, shades = found.versions
    assert (unknown.model, unknown.version, unknown.requests) == ("", "", {"ok": 0, "not_found": 1})
    assert unknown.images["not_found"] == 2
    assert (colours.model, colours.version, colours.is_loaded) == ("colours", "1", True)
    assert colours.requests == {"ok": 16}
    assert colours.images == {"ok": 36, "bad_image": 8}
    assert colours.batch_images == 36
    assert colours.batches == colours.compute.count == colours.queue.count == colours.batch_wait.count == 8
    assert colours.decode.count == 8
    assert colours.total.count == 16
    assert colours.mean_batch == 4.5
    assert colours.refused == 0
    mean_ms = colours.compute.mean_ms
    assert mean_ms is not None
    assert 0 < mean_ms < 60_000
    assert colours.last_answer_ms > 1.7e12
    assert (shades.model, shades.version, shades.compute.mean_ms, shades.mean_batch) == (
        "shades", "3", None, None,
    )  # fmt: skip
    assert [(each.event, each.reason, each.count) for each in found.refusals] == [
        ("call refused", "NOT_FOUND", 1)
    ]
    assert found.connections >= 1
    assert found.active_calls == 1  # this one
    assert found.worker_restarts == 0


def test_every_worker_answers_load_generators_alike(channels: list[grpc.Channel]) -> None:
    request = inference_pb2.ModelStatisticsRequest(name="colours")

    answers = [InferenceStub(channel).ModelStatistics(request, timeout=60) for channel in channels]

    assert all(answer == answers[0] for answer in answers)
    [stats] = answers[0].model_stats
    assert (stats.name, stats.version) == ("colours", "1")
    assert stats.inference_count == 36
    assert stats.execution_count == 8
    inference = stats.inference_stats
    assert (inference.success.count, inference.fail.count, inference.queue.count) == (16, 0, 16)
    assert inference.compute_infer.count == inference.compute_output.count == 8
    parts = (inference.queue, inference.compute_input, inference.compute_infer, inference.compute_output)
    assert 0 < sum(part.ns for part in parts) < inference.success.ns
    assert {batch.batch_size: batch.compute_infer.count for batch in stats.batch_stats} == dict.fromkeys(
        range(1, 9), 1
    )


def test_statistics_are_advertised(channels: list[grpc.Channel]) -> None:
    stub = InferenceStub(channels[0])

    answer = stub.ServerMetadata(inference_pb2.ServerMetadataRequest(), timeout=60)

    assert "statistics" in answer.extensions
