"""A server's counters as dataclasses, from the response of GetStatistics."""

from __future__ import annotations

from dataclasses import dataclass

_MS = 1_000
_OK = "ok"


@dataclass(frozen=True)
class TimeSpent:
    """How often something happened, and its total duration."""

    count: int
    seconds: float

    @property
    def mean_ms(self) -> float | None:
        """Mean duration in milliseconds; None if it never happened."""
        return _MS * self.seconds / self.count if self.count else None


@dataclass(frozen=True)
class VersionStatistics:
    """Counters of one version; ``VersionStatistics`` in the proto, which explains each."""

    model: str
    version: str
    """Both empty for requests refused before their model was known."""
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
        """Images per batch; None if there was no batch."""
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
    """Counters of a server since its start, over all its processes."""

    versions: tuple[VersionStatistics, ...]
    refusals: tuple[RefusalCount, ...]
    workers: int
    worker_restarts: int
    connections: int
    active_calls: int
    admitted_images: int
