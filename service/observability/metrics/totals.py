"""Totals of a server and of each model version, read from a snapshot; both statistics RPCs report them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

from service.observability.metrics import table
from service.observability.metrics.snapshot import batches, leaves
from service.observability.metrics.table import FAILED, HIT, MISS, OK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.observability.metrics.snapshot import Snapshot, Tree, Version
    from service.observability.metrics.table import Metric

_NS_PER_MS = 1_000_000


@dataclass(frozen=True)
class TimeSpent:
    """How often something happened, and how long it took in total."""

    count: int = 0
    ns: int = 0


_NONE = TimeSpent()


@dataclass(frozen=True, kw_only=True)
class VersionTotals:
    """Totals of the requests to one model version; zeros by default."""

    is_loaded: bool = False
    requests: Mapping[str, int] = field(default_factory=dict)
    """By outcome: ``ok`` or a gRPC status in lower case."""
    images: Mapping[str, int] = field(default_factory=dict)
    """By outcome: ``ok``, ``bad_image``, or the outcome of their request."""
    cached_images: int = 0
    uncached_images: int = 0
    """Images that were looked up in the cache and not found."""
    cached_requests: int = 0
    """Requests all of whose images were found in the cache."""
    uncached_requests: int = 0
    """The other requests that were looked up in the cache."""
    answered: TimeSpent = _NONE
    """From the start of parsing a request to its answer."""
    failed: TimeSpent = _NONE
    """The same for requests that were refused."""
    decode: TimeSpent = _NONE
    queue: TimeSpent = _NONE
    """From being queued to the first image being taken into a batch."""
    batch_wait: TimeSpent = _NONE
    """From there to the end of the last run, less the time of running."""
    compute: TimeSpent = _NONE
    """While at least one run with images of the request was going."""
    reply_ns: int = 0
    """From the end of the last run to the answer, of the requests in ``compute``."""
    batches: Mapping[int, TimeSpent] = field(default_factory=dict)
    """Runs of the model, by their number of images."""
    waiting_images: int = 0
    """Images in the queue now."""
    last_answer_ms: int = 0
    """When the last request was answered, in milliseconds since 1970; 0 for never."""


@dataclass(frozen=True, kw_only=True)
class ServerTotals:
    """Totals of a server since its start, over all its processes."""

    versions: Mapping[Version, VersionTotals]
    """Every version that was requested or is loaded, and NO_MODEL."""
    refusals: Mapping[tuple[str, ...], int]
    """By event and reason."""
    workers: int
    worker_restarts: int
    connections: int
    active_calls: int
    admitted_images: int


class TotalsSource(Protocol):
    """Provides the totals of a server."""

    async def totals(self) -> ServerTotals:
        """Return the totals up to now."""


def totals_of(snapshot: Snapshot) -> ServerTotals:
    """Read the totals from the snapshot of a whole server."""
    cumulative, current = snapshot.cumulative, snapshot.current
    return ServerTotals(
        versions={
            version: _version_totals(values, current.models.get(version, {}))
            for version, values in cumulative.models.items()
        },
        refusals=_counts(cumulative.server, table.REFUSALS),
        workers=_count(current.server, table.WORKERS),
        worker_restarts=_count(cumulative.server, table.WORKER_RESTARTS),
        connections=_count(current.server, table.CONNECTIONS),
        active_calls=_count(current.server, table.ACTIVE_CALLS),
        admitted_images=_count(current.server, table.ADMITTED_IMAGES),
    )


def _version_totals(cumulative: Mapping[str, Tree], current: Mapping[str, Tree]) -> VersionTotals:
    return VersionTotals(
        is_loaded=table.MODEL.name in current,
        requests={outcome: count for (outcome,), count in _counts(cumulative, table.REQUESTS).items()},
        images={outcome: count for (outcome,), count in _counts(cumulative, table.IMAGES).items()},
        cached_images=_count(cumulative, table.CACHE_IMAGES, HIT),
        uncached_images=_count(cumulative, table.CACHE_IMAGES, MISS),
        cached_requests=_count(cumulative, table.CACHE_REQUESTS, HIT),
        uncached_requests=_count(cumulative, table.CACHE_REQUESTS, MISS),
        answered=_time_spent(cumulative, table.REQUEST_DURATION, OK),
        failed=_time_spent(cumulative, table.REQUEST_DURATION, FAILED),
        decode=_time_spent(cumulative, table.DECODE),
        queue=_time_spent(cumulative, table.QUEUE),
        batch_wait=_time_spent(cumulative, table.BATCH_WAIT),
        compute=_time_spent(cumulative, table.COMPUTE),
        reply_ns=_count(cumulative, table.REPLY),
        batches={size: TimeSpent(runs, busy_ns) for size, runs, busy_ns in batches(cumulative)},
        waiting_images=_count(current, table.WAITING_IMAGES),
        last_answer_ms=_count(cumulative, table.LAST_REQUEST) // _NS_PER_MS,
    )


def _counts(values: Mapping[str, Tree], metric: Metric) -> dict[tuple[str, ...], int]:
    """Return all counts of a metric by its labels."""
    return {labels: cast("int", value) for labels, value in leaves(values.get(metric.name, {}))}


def _count(values: Mapping[str, Tree], metric: Metric, *labels: str) -> int:
    return _counts(values, metric).get(labels, 0)


def _time_spent(values: Mapping[str, Tree], metric: Metric, *labels: str) -> TimeSpent:
    """Read a histogram of times."""
    for found, value in leaves(values.get(metric.name, {})):
        if found == labels:
            *buckets, total_ns = cast("list[int]", value)
            return TimeSpent(sum(buckets), total_ns)
    return _NONE
