"""Estimates how long an image takes, to refuse calls whose deadline cannot be met."""

from __future__ import annotations

import math

from service.errors import DeadlineError

_OPTIMISM = 0.5  # a call is refused only if it would be late even at twice the estimated speed
_WEIGHT = 0.2  # of the latest run in the moving average: about the last five runs count
_MEMORY_S = 2.0


class ServiceTime:
    """Exponential moving average of the time per image of full and half-full batches."""

    def __init__(self, max_batch: int, sessions: int) -> None:
        self._max_batch = max_batch
        self._sessions = sessions
        self._image_s = 0.0
        self._updated_s = -math.inf

    def update(self, n: int, seconds: float, now_s: float) -> None:
        """Learn from a run of ``n`` images.

        Batches less than half full do not count: most of their time is a fixed cost per run, and waiting
        calls are batched together.
        """
        if 2 * n < self._max_batch:
            return
        image_s = seconds / n
        self._image_s += (image_s - self._image_s) * (_WEIGHT if self._is_known(now_s) else 1.0)
        self._updated_s = now_s

    def deadline_error(self, deadline_s: float, now_s: float, images: int) -> DeadlineError | None:
        """Return the error of a call whose deadline cannot be met, with ``images`` to run until then."""
        needed_s = images * self._image_s * _OPTIMISM / self._sessions if self._is_known(now_s) else 0.0
        if now_s + needed_s <= deadline_s:
            return None
        left_ms = (deadline_s - now_s) * 1000
        if left_ms <= 0:
            return DeadlineError(f"the deadline passed {-left_ms:,.0f} ms ago; ask with a later one")
        return DeadlineError(
            f"would be answered in about {needed_s * 1000:,.0f} ms at the earliest, the deadline is in "
            f"{left_ms:,.0f} ms; ask with a later deadline or a smaller call"
        )

    def _is_known(self, now_s: float) -> bool:
        # An old estimate expires: if it were wrong, no call might be admitted to correct it.
        return now_s - self._updated_s <= _MEMORY_S
