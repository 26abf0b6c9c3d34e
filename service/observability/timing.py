"""When the parts of a request happened, in seconds of ``clock``: noted where they happen, read by observers.

``clock`` is not the event loop's own, which may stand still for a turn and counts milliseconds.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

clock = time.perf_counter


class ModelRun:
    """One run of a model on a batch."""

    __slots__ = ("began_s", "context", "ended_s", "images")

    def __init__(self, images: int, began_s: float, ended_s: float) -> None:
        self.images = images
        """Size of the batch, over all its requests."""
        self.began_s = began_s
        self.ended_s = ended_s
        self.context: object = None
        """Free for one observer's own data."""


class Timing:
    """Timestamps of one request; those of parts that did not happen are None."""

    __slots__ = (
        "cached_images",
        "decode_began_s",
        "decode_ended_s",
        "queued_s",
        "runs",
        "taken_s",
        "uncached_images",
    )

    def __init__(self) -> None:
        self.decode_began_s: float | None = None
        self.decode_ended_s: float | None = None
        self.queued_s: float | None = None
        """When the images were given to the batcher."""
        self.taken_s: float | None = None
        """When the first of them were taken into a batch."""
        self.runs: list[ModelRun] = []
        """Runs with images of this request, in order, including failed ones."""
        self.cached_images = 0
        """How many images were answered from the cache."""
        self.uncached_images = 0
        """How many were looked up in the cache and not found."""

    def parts(self, ended_s: float) -> tuple[float | None, float | None, tuple[float, float, float] | None]:
        """Split the duration of a request that ended at ``ended_s``.

        Returns:
            Durations in seconds, None for parts that did not happen: decoding, from the first picture being
            queued for a thread to the last one being decoded; queueing, from the images being given to the
            batcher to the first one being taken into a batch, or to the end; and of the runs: the wait from
            there to the end of the last run, less the time of running; running, while at least one run was
            going; and replying, from the end of the last run.
        """
        decode_s = queue_s = None
        if self.decode_began_s is not None and self.decode_ended_s is not None:
            decode_s = self.decode_ended_s - self.decode_began_s
        if self.queued_s is None:
            return decode_s, None, None
        taken_s = self.taken_s
        queue_s = (ended_s if taken_s is None else taken_s) - self.queued_s
        runs = self.runs
        if taken_s is None or not runs:
            return decode_s, queue_s, None
        last_s = runs[0].ended_s
        run_s = last_s - runs[0].began_s
        if len(runs) > 1:
            run_s, last_s = _busy_time(runs)
        return decode_s, queue_s, (last_s - taken_s - run_s, run_s, ended_s - last_s)


def _busy_time(runs: Sequence[ModelRun]) -> tuple[float, float]:
    """Return how long at least one run was going, and when the last one ended; runs may overlap."""
    busy_s = until_s = 0.0
    for run in sorted(runs, key=lambda run: run.began_s):
        busy_s += max(0.0, run.ended_s - max(run.began_s, until_s))
        until_s = max(until_s, run.ended_s)
    return busy_s, until_s
