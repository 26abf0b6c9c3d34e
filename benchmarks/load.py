"""Results of a load generator: calls answered, latency percentiles, and failures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class LoadError(Exception):
    """A run of a load generator is invalid."""


@dataclass(frozen=True)
class Load:
    """One run of a load generator; latencies in milliseconds."""

    calls: int
    """Calls or messages that were answered as expected."""
    seconds: float
    """From the first one sent to the last one answered."""
    p50_ms: float
    p99_ms: float
    p999_ms: float
    failures: dict[str, int] = field(default_factory=dict)
    """Number of failures by cause; empty when every answer was as expected."""
    late_p99_ms: float = 0.0
    """How late calls were sent, which is the generator's own fault."""

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.calls / self.seconds


def summarize(
    latencies_s: Sequence[float],
    seconds: float,
    failures: Mapping[str, int] | None = None,
    late_s: Sequence[float] = (),
) -> Load:
    """Reduce a run to its percentiles.

    Raises:
        LoadError: nothing was answered.
    """
    if not latencies_s:
        raise LoadError(f"no call was answered as expected: {dict(failures or {})}")
    p50, p99, p999 = np.percentile(latencies_s, [50, 99, 99.9]) * 1000
    late = float(np.percentile(late_s, 99)) * 1000 if late_s else 0.0
    return Load(len(latencies_s), seconds, float(p50), float(p99), float(p999), dict(failures or {}), late)
