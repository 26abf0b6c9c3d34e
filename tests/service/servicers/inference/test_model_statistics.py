"""ModelStatistics reports what was counted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from cifar10net.pb import inference_pb2 as pb
from service.config import ServerConfig
from service.errors import UnknownModelError
from service.observability.metrics.totals import ServerTotals, TimeSpent, VersionTotals
from service.repository import Loaded, Repository
from service.runtime.model import ModelInfo
from service.servicers.inference.model_statistics import Statistics

if TYPE_CHECKING:
    from service.rpc.context import UnaryContext

CALL: UnaryContext = None  # type: ignore[assignment] # the handler does not look at it
COUNTED = VersionTotals(
    last_answer_ms=1_700_000_000_000,
    images={"ok": 80, "internal": 7},
    cached_images=10,
    cached_requests=2,
    uncached_requests=4,
    answered=TimeSpent(6, 60),
    failed=TimeSpent(1, 2),
    queue=TimeSpent(3, 5),
    decode=TimeSpent(2, 1),
    batch_wait=TimeSpent(5, 7),
    compute=TimeSpent(5, 9),
    reply_ns=10,
    batches={64: TimeSpent(1, 2), 3: TimeSpent(2, 5)},
)


class _Model:
    """A stand-in model that is never run."""

    def __init__(self, name: str, version: int) -> None:
        self.info = ModelInfo(name, version, ("a", "b"), "CPUExecutionProvider", {})

    def run(self, images: Any) -> Any:
        raise NotImplementedError


class _Counted:
    async def totals(self) -> ServerTotals:
        return ServerTotals(
            versions={("busy", "2"): COUNTED, ("gone", "1"): COUNTED},
            refusals={},
            workers=1,
            worker_restarts=0,
            connections=0,
            active_calls=0,
            admitted_images=0,
        )


def _ask(name: str = "", version: str = "") -> pb.ModelStatisticsResponse:
    async def main() -> bytes:
        repository = Repository()
        models: Any = [(_Model("idle", 1),), (_Model("busy", 2),)]
        repository.open(Loaded(models), ServerConfig())
        request = pb.ModelStatisticsRequest(name=name, version=version)
        answer = await Statistics(repository, _Counted()).model_statistics(request.SerializeToString(), CALL)
        await repository.close()
        return answer

    return pb.ModelStatisticsResponse.FromString(asyncio.run(main()))


@pytest.mark.parametrize(
    ("name", "version", "told"),
    [
        ("", "", [("busy", "2"), ("idle", "1")]),
        ("busy", "", [("busy", "2")]),
        ("busy", "2", [("busy", "2")]),
        ("idle", "1", [("idle", "1")]),
    ],
)
def test_every_requested_version_is_reported(name: str, version: str, told: list[tuple[str, str]]) -> None:
    stats = _ask(name, version).model_stats

    assert [(each.name, each.version) for each in stats] == told


@pytest.mark.parametrize(("name", "version"), [("none", ""), ("busy", "1"), ("gone", "1")])
def test_a_model_that_is_not_served_is_not_found(name: str, version: str) -> None:
    with pytest.raises(UnknownModelError):
        _ask(name, version)


def test_a_model_that_nobody_asked_has_nothing_but_zeros() -> None:
    (stats,) = _ask("idle").model_stats

    assert stats.inference_stats.queue == pb.StatisticDuration()
    assert stats.HasField("inference_stats")
    assert (stats.inference_count, stats.execution_count, len(stats.batch_stats)) == (0, 0, 0)


def test_each_total_is_reported_under_its_name() -> None:
    (stats,) = _ask("busy").model_stats

    def spent(count: int = 0, ns: int = 0) -> pb.StatisticDuration:
        return pb.StatisticDuration(count=count, ns=ns)

    assert stats == pb.ModelStatistics(
        name="busy",
        version="2",
        last_inference=1_700_000_000_000,
        inference_count=70,
        execution_count=3,
        inference_stats=pb.InferStatistics(
            success=spent(6, 60),
            fail=spent(1, 2),
            queue=spent(7, 5),  # every request, also those that did not wait
            compute_input=spent(5, 8),  # decoding, and the way into the model's thread
            compute_infer=spent(5, 9),
            compute_output=spent(5, 10),
            cache_hit=spent(2),
            cache_miss=spent(4),
        ),
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=3, compute_input=spent(), compute_infer=spent(2, 5), compute_output=spent()
            ),
            pb.InferBatchStatistics(
                batch_size=64, compute_input=spent(), compute_infer=spent(1, 2), compute_output=spent()
            ),
        ],
    )
