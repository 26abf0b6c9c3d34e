"""When the parts of answering a request happened.

Filled in by whoever does the part, read by observers. Times are seconds of ``clock``, since the event loop's
own clock may stand still for a turn and counts milliseconds. Knows nothing of what is timed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

clock = time.perf_counter
"""The clock of all of this."""


class Run:
    """One run of a model, for a batch."""

    __slots__ = ("began_s", "context", "ended_s", "images")

    def __init__(self, images: int, began_s: float, ended_s: float) -> None:
        self.images = images
        """In the batch, of all its requests."""
        self.began_s = began_s
        self.ended_s = ended_s
        self.context: object = None
        """For one observer to keep what it knows of it."""


class Timing:
    """Of one request's images; what has not happened is None or empty."""

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
        self.runs: list[Run] = []
        """Those that had images of this request in them, in order; a failed run too."""
        self.cached_images = 0
        """How many were answered from the cache."""
        self.uncached_images = 0
        """How many were looked up in the cache in vain."""

    def parts(self, ended_s: float) -> tuple[float | None, float | None, tuple[float, float, float] | None]:
        """Split the request up, which ended at some time.

        Returns:
            In seconds, or None for what did not happen. Decoding its pictures: from the first one being given
            to the threads to the last one being read. Waiting in the queue: from the images being given to
            the batcher to the first one being taken into a batch, or to the end if none was. And of the runs:
            waiting for them, from there to the end of the last one, less the time of running; running, while
            at least one was going; replying, from the end of the last one.
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
            run_s, last_s = _course(runs)
        return decode_s, queue_s, (last_s - taken_s - run_s, run_s, ended_s - last_s)


def _course(runs: Sequence[Run]) -> tuple[float, float]:
    """Return for how long at least one of some runs was going, and when the last one ended.

    Several sessions of a model run at the same time.
    """
    busy_s = until_s = 0.0
    for run in sorted(runs, key=lambda run: run.began_s):
        busy_s += max(0.0, run.ended_s - max(run.began_s, until_s))
        until_s = max(until_s, run.ended_s)
    return busy_s, until_s
