"""``GetStatistics``: totals of the whole server, as the classifier's proto defines them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar10net.pb import classifier_pb2 as pb
from service.observability.metrics.snapshot import seconds
from service.rpc.method import Method
from service.servicers.parsing import parse

if TYPE_CHECKING:
    from service.observability.metrics.snapshot import Version
    from service.observability.metrics.totals import ServerTotals, TimeSpent, TotalsSource, VersionTotals
    from service.rpc.context import UnaryContext

_SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Classifier"].full_name


class StatisticsServicer:
    """Answers from the totals of a source."""

    def __init__(self, source: TotalsSource) -> None:
        self._source = source

    def methods(self) -> tuple[Method, ...]:
        """Return the RPC's method."""
        return (Method(f"/{_SERVICE_NAME}/GetStatistics", unary=self.get_statistics),)

    async def get_statistics(self, message: bytes, context: UnaryContext) -> bytes:  # noqa: ARG002 - as every handler
        """Return the totals up to now."""
        parse(pb.GetStatisticsRequest, message)
        return _response(await self._source.totals()).SerializeToString()


def _response(totals: ServerTotals) -> pb.GetStatisticsResponse:
    return pb.GetStatisticsResponse(
        versions=[
            _version(version, totals.versions[version]) for version in sorted(totals.versions, key=_order)
        ],
        refusals=[
            pb.RefusalCount(event=event, reason=reason, count=count)
            for (event, reason), count in sorted(totals.refusals.items())
        ],
        workers=totals.workers,
        worker_restarts=totals.worker_restarts,
        connections=totals.connections,
        active_calls=totals.active_calls,
        admitted_images=totals.admitted_images,
    )


def _order(version: Version) -> tuple[str, int]:
    name, number = version
    return name, int(number or 0)


def _version(version: Version, totals: VersionTotals) -> pb.VersionStatistics:
    return pb.VersionStatistics(
        model=version[0],
        version=version[1],
        is_loaded=totals.is_loaded,
        requests=totals.requests,
        images=totals.images,
        batches=sum(spent.count for spent in totals.batches.values()),
        batch_images=sum(size * spent.count for size, spent in totals.batches.items()),
        cache_hits=totals.cached_images,
        cache_misses=totals.uncached_images,
        total=_time_spent(totals.answered),
        decode=_time_spent(totals.decode),
        queue=_time_spent(totals.queue),
        batch_wait=_time_spent(totals.batch_wait),
        compute=_time_spent(totals.compute),
        waiting_images=totals.waiting_images,
        last_answer_ms=totals.last_answer_ms,
    )


def _time_spent(spent: TimeSpent) -> pb.TimeSpent:
    return pb.TimeSpent(count=spent.count, seconds=seconds(spent.ns))
