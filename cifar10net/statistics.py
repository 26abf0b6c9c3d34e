"""What a server says it has done, as plain values, for the clients.

In: an answer of GetStatistics. Out: dataclasses. Knows nothing of channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cifar10net.pb import classifier_pb2 as pb

_MS = 1_000
_OK = "ok"


@dataclass(frozen=True)
class TimeSpent:
    """How often something happened, and how long it took altogether."""

    count: int
    seconds: float

    @property
    def mean_ms(self) -> float | None:
        """How long it took on average, in milliseconds; None if it never happened."""
        return _MS * self.seconds / self.count if self.count else None


@dataclass(frozen=True)
class VersionStatistics:
    """Of the requests to one version; as ``VersionStatistics`` in the proto, which explains each."""

    model: str
    version: str
    """Both empty for requests that were refused before their model was known."""
    is_loaded: bool
    requests: dict[str, int]
    images: dict[str, int]
    batches: int
    batch_images: int
    cache_hits: int
    cache_misses: int
    waiting_images: int
    last_answer_ms: int
    total: TimeSpent
    decode: TimeSpent
    queue: TimeSpent
    batch_wait: TimeSpent
    compute: TimeSpent

    @property
    def mean_batch(self) -> float | None:
        """Images a batch; None if there was none."""
        return self.batch_images / self.batches if self.batches else None

    @property
    def refused(self) -> int:
        """Requests that were not answered."""
        return sum(self.requests.values()) - self.requests.get(_OK, 0)


@dataclass(frozen=True)
class RefusalCount:
    """How often something was refused."""

    event: str
    reason: str
    count: int


@dataclass(frozen=True)
class ServerStatistics:
    """Of a server, all of its processes together, since it started."""

    versions: tuple[VersionStatistics, ...]
    refusals: tuple[RefusalCount, ...]
    workers: int
    worker_restarts: int
    connections: int
    active_calls: int
    admitted_images: int


def describe_statistics(response: pb.GetStatisticsResponse) -> ServerStatistics:
    """Convert the answer of GetStatistics."""
    return ServerStatistics(
        versions=tuple(map(_version, response.versions)),
        refusals=tuple(RefusalCount(each.event, each.reason, each.count) for each in response.refusals),
        workers=response.workers,
        worker_restarts=response.worker_restarts,
        connections=response.connections,
        active_calls=response.active_calls,
        admitted_images=response.admitted_images,
    )


def _version(version: pb.VersionStatistics) -> VersionStatistics:
    return VersionStatistics(
        model=version.model,
        version=version.version,
        is_loaded=version.is_loaded,
        requests=dict(version.requests),
        images=dict(version.images),
        batches=version.batches,
        batch_images=version.batch_images,
        cache_hits=version.cache_hits,
        cache_misses=version.cache_misses,
        waiting_images=version.waiting_images,
        last_answer_ms=version.last_answer_ms,
        total=_spent(version.total),
        decode=_spent(version.decode),
        queue=_spent(version.queue),
        batch_wait=_spent(version.batch_wait),
        compute=_spent(version.compute),
    )


def _spent(spent: pb.TimeSpent) -> TimeSpent:
    return TimeSpent(spent.count, spent.seconds)
