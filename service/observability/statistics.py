"""What has become of the requests to each model version since the server started.

In: nothing. Out: the totals that somebody counts, for the whole server, whichever worker did the work. Knows
nothing of who counts nor of who asks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass
class Spent:
    """How often something happened and how long it took altogether."""

    count: int = 0
    ns: int = 0


@dataclass
class BatchTotals:
    """Of the batches of one size that were run."""

    compute_input: Spent = field(default_factory=Spent)
    """Joining the images."""
    compute_infer: Spent = field(default_factory=Spent)
    """Running the model."""
    compute_output: Spent = field(default_factory=Spent)
    """Handing out the answers."""


@dataclass
class ModelTotals:
    """Of one model version; requests that named no model that is served are in none."""

    last_inference_ms: int = 0
    """When a request was last answered, since 1970."""
    inference_count: int = 0
    """Images of requests that were answered, those from the cache left out."""
    execution_count: int = 0
    """Batches that were run."""
    success: Spent = field(default_factory=Spent)
    """Requests that were answered, from their arrival on."""
    fail: Spent = field(default_factory=Spent)
    """The others."""
    queue: Spent = field(default_factory=Spent)
    """Every request, the time that it waited; for most that is none at all."""
    compute_input: Spent = field(default_factory=Spent)
    """Requests that were run: decoding their pictures, and the way to the model."""
    compute_infer: Spent = field(default_factory=Spent)
    """Requests that were run: the runs that they were in."""
    compute_output: Spent = field(default_factory=Spent)
    """Requests that were run: from the last run to the answer."""
    cache_hit: Spent = field(default_factory=Spent)
    """Requests that were answered from the cache wholly."""
    cache_miss: Spent = field(default_factory=Spent)
    """Those that were not, where there is a cache."""
    batches: dict[int, BatchTotals] = field(default_factory=dict)
    """By their number of images."""


Totals: TypeAlias = "Mapping[tuple[str, int], ModelTotals]"
"""By name and version of the model."""


class StatisticsSource(Protocol):
    """Counts."""

    async def totals(self) -> Totals:
        """Tell what there is up to now, of all processes of the server together."""
