"""How fast the model answers, and so which deadlines cannot be met.

In: how long runs took, and deadlines. Out: for a deadline that will be missed, the error that says by how
much. Knows nothing of calls or batches.
"""

from __future__ import annotations

import math

from service.errors import DeadlineError

_OPTIMISM = 0.5  # a call is refused only if it would be late at twice the usual speed
_WEIGHT = 0.2  # of the latest run in the usual speed: about the last five runs count
_MEMORY_S = 2.0


class Pace:
    """How fast the model answers, and so which deadlines cannot be met."""

    def __init__(self, max_batch: int, sessions: int) -> None:
        self._max_batch = max_batch
        self._sessions = sessions
        self._image_s = 0.0
        self._noted_s = -math.inf

    def note(self, n: int, seconds: float, now_s: float) -> None:
        """Learn from a run of ``n`` images.

        A small run says little: most of its time is spent once a run, and calls that wait are run
        together. So only batches that were at least half full count.
        """
        if 2 * n < self._max_batch:
            return
        image_s = seconds / n
        known = now_s - self._noted_s <= _MEMORY_S
        self._image_s += (image_s - self._image_s) * (_WEIGHT if known else 1.0)
        self._noted_s = now_s

    def late(self, deadline_s: float, now_s: float, images: int) -> DeadlineError | None:
        """Say why a call cannot be answered in time, with so many images to run until then."""
        # What was learned long ago is forgotten: were it wrong, no call might be let in to correct it.
        known = now_s - self._noted_s <= _MEMORY_S
        needed_s = images * self._image_s * _OPTIMISM / self._sessions if known else 0.0
        if now_s + needed_s <= deadline_s:
            return None
        left_ms = (deadline_s - now_s) * 1000
        if left_ms <= 0:
            return DeadlineError(f"the deadline passed {-left_ms:,.0f} ms ago; ask with a later one")
        return DeadlineError(
            f"would be answered in about {needed_s * 1000:,.0f} ms at the earliest, the deadline is in "
            f"{left_ms:,.0f} ms; ask with a later deadline or a smaller call"
        )
