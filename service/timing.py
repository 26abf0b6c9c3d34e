"""When the parts of answering a request happened.

Filled in by whoever does the part, read by observers. Times are seconds of ``clock``, since the event loop's
own clock may stand still for a turn and counts milliseconds. Knows nothing of what is timed.
"""

from __future__ import annotations

import time

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

    __slots__ = ("cached_images", "decode_began_s", "decode_ended_s", "queued_s", "runs", "taken_s")

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
