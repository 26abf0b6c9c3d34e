"""``ModelStatistics``: totals of each model version, as the Open Inference Protocol defines them.

Every version that is served is listed, whether or not it was ever asked: load generators compare the answers
before and after a load, and take the version whose queue count has grown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar10net.pb import inference_pb2 as pb
from service.observability.metrics.table import OK
from service.observability.metrics.totals import VersionTotals
from service.servicers.parsing import parse

if TYPE_CHECKING:
    from service.observability.metrics.totals import TotalsSource
    from service.repository import Repository
    from service.rpc.context import UnaryContext
    from service.runtime.model import ModelInfo


class Statistics:
    """Answers from the totals of a source."""

    def __init__(self, repository: Repository, source: TotalsSource) -> None:
        """Report what ``source`` has counted for the models of ``repository``."""
        self._repository = repository
        self._source = source

    async def model_statistics(self, message: bytes, context: UnaryContext) -> bytes:  # noqa: ARG002
        """Return the totals of one version, of all versions of a model, or of all models."""
        request = parse(pb.ModelStatisticsRequest, message)
        infos = self._asked_for(request.name, request.version)
        versions = (await self._source.totals()).versions
        stats = [
            _describe(info, versions.get((info.name, str(info.version)), VersionTotals())) for info in infos
        ]
        return pb.ModelStatisticsResponse(model_stats=stats).SerializeToString()

    def _asked_for(self, name: str, version: str) -> list[ModelInfo]:
        if version:
            return [self._repository.get(name, version).info]
        if name:
            self._repository.get(name, "")
        infos = [info for info in self._repository.list() if name in {"", info.name}]
        return sorted(infos, key=lambda info: (info.name, info.version))


def _describe(info: ModelInfo, totals: VersionTotals) -> pb.ModelStatistics:
    ran, answered, failed = totals.compute.count, totals.answered, totals.failed
    return pb.ModelStatistics(
        name=info.name,
        version=str(info.version),
        last_inference=totals.last_answer_ms,
        inference_count=totals.images.get(OK, 0) - totals.cached_images,
        execution_count=sum(spent.count for spent in totals.batches.values()),
        inference_stats=pb.InferStatistics(
            success=_duration(answered.count, answered.ns),
            fail=_duration(failed.count, failed.ns),
            # Every request, most of which did not wait.
            queue=_duration(answered.count + failed.count, totals.queue.ns),
            compute_input=_duration(ran, totals.decode.ns + totals.batch_wait.ns),
            compute_infer=_duration(ran, totals.compute.ns),
            compute_output=_duration(ran, totals.reply_ns),
            cache_hit=_duration(totals.cached_requests),
            cache_miss=_duration(totals.uncached_requests),
        ),
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=size,
                compute_input=_duration(),
                compute_infer=_duration(totals.batches[size].count, totals.batches[size].ns),
                compute_output=_duration(),
            )
            for size in sorted(totals.batches)
        ],
    )


def _duration(count: int = 0, ns: int = 0) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=count, ns=ns)
