"""``ModelStatistics``: what has become of the requests to each model version.

In: the totals of a StatisticsSource. Out: the same in the words of the protocol, for every version that is
served, asked for or not. Load generators look at it before and after, and take the version whose queue grew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar10net.pb import inference_pb2 as pb
from service.observability.statistics import ModelTotals
from service.servicers.parsing import parse

if TYPE_CHECKING:
    from service.observability.statistics import BatchTotals, Spent, StatisticsSource
    from service.repository import Repository
    from service.rpc.context import UnaryContext
    from service.runtime.model import ModelInfo


class Statistics:
    """Tells them."""

    def __init__(self, repository: Repository, source: StatisticsSource) -> None:
        """Tell what ``source`` has counted of the models of ``repository``."""
        self._repository = repository
        self._source = source

    async def model_statistics(self, message: bytes, call: UnaryContext) -> bytes:  # noqa: ARG002 - as every handler
        """Answer as the proto says."""
        request = parse(pb.ModelStatisticsRequest, message)
        infos = self._asked_for(request.name, request.version)
        totals = await self._source.totals()
        stats = [describe(info, totals.get((info.name, info.version), ModelTotals())) for info in infos]
        return pb.ModelStatisticsResponse(model_stats=stats).SerializeToString()

    def _asked_for(self, name: str, version: str) -> list[ModelInfo]:
        """Find the versions of one model, or of all; one alone if it is named."""
        if version:
            return [self._repository.get(name, version).info]
        if name:
            self._repository.get(name, "")
        infos = [info for info in self._repository.list() if name in {"", info.name}]
        return sorted(infos, key=lambda info: (info.name, info.version))


def describe(info: ModelInfo, totals: ModelTotals) -> pb.ModelStatistics:
    """Say what has become of the requests to a model version."""
    return pb.ModelStatistics(
        name=info.name,
        version=str(info.version),
        last_inference=totals.last_inference_ms,
        inference_count=totals.inference_count,
        execution_count=totals.execution_count,
        inference_stats=pb.InferStatistics(
            success=_spent(totals.success),
            fail=_spent(totals.fail),
            queue=_spent(totals.queue),
            compute_input=_spent(totals.compute_input),
            compute_infer=_spent(totals.compute_infer),
            compute_output=_spent(totals.compute_output),
            cache_hit=_spent(totals.cache_hit),
            cache_miss=_spent(totals.cache_miss),
        ),
        batch_stats=[_batches(size, totals.batches[size]) for size in sorted(totals.batches)],
    )


def _batches(size: int, totals: BatchTotals) -> pb.InferBatchStatistics:
    return pb.InferBatchStatistics(
        batch_size=size,
        compute_input=_spent(totals.compute_input),
        compute_infer=_spent(totals.compute_infer),
        compute_output=_spent(totals.compute_output),
    )


def _spent(spent: Spent) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=spent.count, ns=spent.ns)
