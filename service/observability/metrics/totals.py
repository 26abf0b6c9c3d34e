"""A snapshot as the totals of each version that ModelStatistics is made of.

In: what was counted. Out: how often and how long, by the definitions of the metrics. Knows nothing of who
asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.observability.metrics import table
from service.observability.metrics.lookup import batches, count, spent, whole_milliseconds
from service.observability.metrics.snapshot import NO_MODEL
from service.observability.metrics.table import FAILED, HIT, MISS, OK
from service.observability.statistics import BatchTotals, ModelTotals, Spent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.observability.metrics.snapshot import Numbers, Tree
    from service.observability.statistics import Totals


def totals_of(kept: Numbers) -> Totals:
    """Return the totals of every version that was asked or is loaded."""
    return {
        (name, int(version)): _totals(numbers)
        for (name, version), numbers in kept.models.items()
        if (name, version) != NO_MODEL
    }


def _totals(numbers: Mapping[str, Tree]) -> ModelTotals:
    success, fail = (Spent(*spent(numbers, table.REQUEST_DURATION, outcome)) for outcome in (OK, FAILED))
    queue, decode, wait, compute = (
        Spent(*spent(numbers, metric))
        for metric in (table.QUEUE, table.DECODE, table.BATCH_WAIT, table.COMPUTE)
    )
    run = batches(numbers)
    return ModelTotals(
        last_inference_ms=whole_milliseconds(count(numbers, table.LAST_REQUEST)),
        inference_count=count(numbers, table.IMAGES, OK) - count(numbers, table.CACHE_IMAGES, HIT),
        execution_count=sum(runs for _, runs, _ in run),
        success=success,
        fail=fail,
        queue=Spent(success.count + fail.count, queue.ns),
        compute_input=Spent(compute.count, decode.ns + wait.ns),
        compute_infer=compute,
        compute_output=Spent(compute.count, count(numbers, table.REPLY)),
        cache_hit=Spent(count(numbers, table.CACHE_REQUESTS, HIT)),
        cache_miss=Spent(count(numbers, table.CACHE_REQUESTS, MISS)),
        batches={size: BatchTotals(compute_infer=Spent(runs, busy_ns)) for size, runs, busy_ns in run},
    )
