"""``GetStatistics``: what the server has done, all of its processes together.

In: a snapshot. Out: the same in the words of the proto. Knows nothing of who counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cifar10net.pb import classifier_pb2 as pb
from service.observability.metrics import table
from service.observability.metrics.lookup import batches, count, counts, seconds, spent, whole_milliseconds
from service.observability.metrics.table import HIT, MISS, OK
from service.rpc.method import Method
from service.servicers.parsing import parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.observability.metrics.snapshot import Snapshot, Tree, Version
    from service.observability.metrics.table import Metric
    from service.rpc.context import UnaryContext

_SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Classifier"].full_name


class SnapshotSource(Protocol):
    """Has counted."""

    async def snapshot(self) -> Snapshot:
        """Return the numbers of the whole server."""


class StatisticsServicer:
    """Tells what a source has counted."""

    def __init__(self, source: SnapshotSource) -> None:
        self._source = source

    def methods(self) -> tuple[Method, ...]:
        """What can be called."""
        return (Method(f"/{_SERVICE_NAME}/GetStatistics", unary=self.get_statistics),)

    async def get_statistics(self, message: bytes, call: UnaryContext) -> bytes:  # noqa: ARG002 - as every handler
        """Answer as the proto says."""
        parse(pb.GetStatisticsRequest, message)
        return describe(await self._source.snapshot()).SerializeToString()


def describe(snapshot: Snapshot) -> pb.GetStatisticsResponse:
    """Say what a server has done."""
    kept, living = snapshot.kept, snapshot.living
    refusals = counts(kept.server, table.REFUSALS)
    return pb.GetStatisticsResponse(
        versions=[
            _version(version, numbers, living.models.get(version, {}))
            for version, numbers in sorted(kept.models.items(), key=lambda item: _order(item[0]))
        ],
        refusals=[
            pb.RefusalCount(event=event, reason=reason, count=times)
            for (event, reason), times in sorted(refusals.items())
        ],
        workers=count(living.server, table.WORKERS),
        worker_restarts=count(kept.server, table.WORKER_RESTARTS),
        connections=count(living.server, table.CONNECTIONS),
        active_calls=count(living.server, table.ACTIVE_CALLS),
        admitted_images=count(living.server, table.ADMITTED_IMAGES),
    )


def _order(version: Version) -> tuple[str, int]:
    name, number = version
    return name, int(number or 0)


def _version(
    version: Version, numbers: Mapping[str, Tree], living: Mapping[str, Tree]
) -> pb.VersionStatistics:
    run = batches(numbers)
    return pb.VersionStatistics(
        model=version[0],
        version=version[1],
        is_loaded=table.MODEL.name in living,
        requests={outcome: n for (outcome,), n in counts(numbers, table.REQUESTS).items()},
        images={outcome: n for (outcome,), n in counts(numbers, table.IMAGES).items()},
        batches=sum(runs for _, runs, _ in run),
        batch_images=sum(size * runs for size, runs, _ in run),
        cache_hits=count(numbers, table.CACHE_IMAGES, HIT),
        cache_misses=count(numbers, table.CACHE_IMAGES, MISS),
        total=_spent(numbers, table.REQUEST_DURATION, OK),
        decode=_spent(numbers, table.DECODE),
        queue=_spent(numbers, table.QUEUE),
        batch_wait=_spent(numbers, table.BATCH_WAIT),
        compute=_spent(numbers, table.COMPUTE),
        waiting_images=count(living, table.WAITING_IMAGES),
        last_answer_ms=whole_milliseconds(count(numbers, table.LAST_REQUEST)),
    )


def _spent(numbers: Mapping[str, Tree], metric: Metric, *labels: str) -> pb.TimeSpent:
    number, total_ns = spent(numbers, metric, *labels)
    return pb.TimeSpent(count=number, seconds=seconds(total_ns))
