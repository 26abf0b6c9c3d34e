"""Counts the calls of each method, and the requests and runs of each model version, in one process.

The common cases are put into a list and counted many at a time by numpy, which takes a third of the time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from service.errors import Code
from service.observability.metrics import table
from service.observability.metrics.snapshot import BATCHES, nanoseconds
from service.observability.metrics.table import BAD_IMAGE, FAILED, HIT, MISS, OK, SECONDS_BOUNDS

if TYPE_CHECKING:
    import numpy.typing as npt

    from service.observability.metrics.snapshot import Tree
    from service.observability.observers import Request
    from service.observability.timing import ModelRun

_CODES = max(Code) + 1
_BOUNDS = np.array(SECONDS_BOUNDS)
_CHUNK = 256
"""How many events are counted at a time."""
_FIELDS = 7
"""Numbers kept of each plain request."""


class Histogram:
    """A histogram of times in seconds."""

    def __init__(self) -> None:
        self._buckets = [0] * (len(SECONDS_BOUNDS) + 1)
        self._sum_s = 0.0

    def observe(self, value_s: float) -> None:
        """Add a time."""
        self._buckets[bisect_left(SECONDS_BOUNDS, value_s)] += 1
        self._sum_s += value_s

    def observe_many(self, values_s: npt.NDArray[np.float64]) -> None:
        """Add many times."""
        counts = np.bincount(np.searchsorted(_BOUNDS, values_s), minlength=len(self._buckets)).tolist()
        self._buckets = list(map(add, self._buckets, counts))
        self._sum_s += float(values_s.sum())

    def values(self) -> list[int]:
        """Return the count of each bucket, then the sum in nanoseconds."""
        return [*self._buckets, nanoseconds(self._sum_s)]


class MethodCounts:
    """Counts of the calls of one method."""

    def __init__(self) -> None:
        self._codes = [0] * _CODES
        self._duration = Histogram()
        self._later: list[float] = []
        """Durations in seconds of answered calls that are yet to be counted."""

    def count(self, code: Code, duration_s: float) -> None:
        """Count a call."""
        if code:
            self._codes[code] += 1
            self._duration.observe(duration_s)
            return
        later = self._later
        later.append(duration_s)
        if len(later) == _CHUNK:
            self._settle()

    def _settle(self) -> None:
        if self._later:
            durations_s = np.array(self._later)
            self._later.clear()
            self._codes[Code.OK] += len(durations_s)
            self._duration.observe_many(durations_s)

    def codes(self) -> dict[str, Tree]:
        """Return the calls by status code; OK is always included."""
        self._settle()
        return {code.name: self._codes[code] for code in Code if self._codes[code] or code is Code.OK}

    def duration(self) -> list[int]:
        """Return the histogram of their durations."""
        self._settle()
        return self._duration.values()


class ModelCounts:
    """Counts of the requests and runs of one model version."""

    def __init__(self) -> None:
        self._requests = [0] * _CODES
        self._images = [0] * _CODES
        self._bad_images = 0
        self._answered, self._failed = Histogram(), Histogram()
        self._decode, self._queue, self._batch_wait, self._compute = (Histogram() for _ in range(4))
        self._reply_s = 0.0
        self._batches: defaultdict[int, _BatchCounts] = defaultdict(_BatchCounts)
        self._cache_images, self._cache_requests = [0, 0], [0, 0]
        """Hits and misses."""
        self._later: list[float | None] = []
        """For each plain request its number of images, and when it began, was queued, was taken into a batch,
        when its run began and ended, and when it ended itself. A flat list, since long-lived tuples keep the
        garbage collector busy."""
        self._runs: list[ModelRun] = []
        """Runs that are yet to be counted."""
        self._last_s = 0.0
        """When the last request was answered, by the clock of requests; 0 for never."""
        self._last = (0.0, 0)
        """The last reported value of that time, and the same in nanoseconds since 1970."""

    def count(self, request: Request) -> None:
        """Count a request, its images, and the time of each of its parts.

        Most requests are plain, that is answered by one run and without decoding or the cache; these are
        counted many at a time.
        """
        runs = request.runs
        is_plain = len(runs) == 1 and request.decode_began_s is None and not request.code
        if not is_plain or request.bad_images or request.uncached_images:
            self._count(request)
            return
        run, later = runs[0], self._later
        later += (
            request.images,
            request.began_s,
            request.queued_s,
            request.taken_s,
            run.began_s,
            run.ended_s,
            request.ended_s,
        )
        if len(later) == _CHUNK * _FIELDS:
            self._settle()

    def _settle(self) -> None:
        self._settle_runs()
        if not self._later:
            return
        columns = np.array(self._later, np.float64).reshape(-1, _FIELDS).T
        self._later.clear()
        images, began_s, queued_s, taken_s, run_s, ran_s, ended_s = columns
        self._requests[Code.OK] += len(images)
        self._images[Code.OK] += int(images.sum())
        self._answered.observe_many(ended_s - began_s)
        self._queue.observe_many(taken_s - queued_s)
        self._batch_wait.observe_many(run_s - taken_s)
        self._compute.observe_many(ran_s - run_s)
        self._reply_s += float((ended_s - ran_s).sum())
        self._last_s = max(self._last_s, float(ended_s[-1]))

    def _count(self, request: Request) -> None:
        code, ended_s = request.code, request.ended_s
        self._requests[code] += 1
        if code:
            self._images[code] += request.images
            self._failed.observe(ended_s - request.began_s)
        else:
            self._images[code] += request.images - request.bad_images
            self._bad_images += request.bad_images
            self._answered.observe(ended_s - request.began_s)
            self._last_s = ended_s
            if request.cached_images or request.uncached_images:
                self._cache_images[0] += request.cached_images
                self._cache_images[1] += request.uncached_images
                self._cache_requests[request.uncached_images > 0] += 1
        decode_s, queue_s, running = request.parts(ended_s)
        if decode_s is not None:
            self._decode.observe(decode_s)
        if queue_s is not None:
            self._queue.observe(queue_s)
        if running is not None:
            wait_s, compute_s, reply_s = running
            self._batch_wait.observe(wait_s)
            self._compute.observe(compute_s)
            self._reply_s += reply_s

    def count_run(self, run: ModelRun) -> None:
        """Count a run of the model."""
        self._runs.append(run)
        if len(self._runs) == _CHUNK:
            self._settle_runs()

    def _settle_runs(self) -> None:
        for run in self._runs:
            batches = self._batches[run.images]
            batches.runs += 1
            batches.busy_s += run.ended_s - run.began_s
        self._runs.clear()

    def values(self, offset_ns: int) -> dict[str, Tree]:
        """Return all metrics; ``offset_ns`` converts times of the clock of requests to times since 1970."""
        self._settle()
        if self._last_s != self._last[0]:  # else it stays as reported, even if the system's time is set
            self._last = self._last_s, nanoseconds(self._last_s) + offset_ns
        return {
            table.REQUESTS.name: _by_outcome(self._requests),
            table.IMAGES.name: {**_by_outcome(self._images), BAD_IMAGE: self._bad_images},
            table.REQUEST_DURATION.name: {OK: self._answered.values(), FAILED: self._failed.values()},
            table.DECODE.name: self._decode.values(),
            table.QUEUE.name: self._queue.values(),
            table.BATCH_WAIT.name: self._batch_wait.values(),
            table.COMPUTE.name: self._compute.values(),
            table.REPLY.name: nanoseconds(self._reply_s),
            table.CACHE_IMAGES.name: dict(zip((HIT, MISS), self._cache_images, strict=True)),
            table.CACHE_REQUESTS.name: dict(zip((HIT, MISS), self._cache_requests, strict=True)),
            table.LAST_REQUEST.name: self._last[1],
            BATCHES: {
                str(size): [batches.runs, nanoseconds(batches.busy_s)]
                for size, batches in self._batches.items()
            },
        }


class _BatchCounts:
    """Runs with one number of images."""

    def __init__(self) -> None:
        self.runs = 0
        self.busy_s = 0.0


def _by_outcome(counts: list[int]) -> dict[str, Tree]:
    return {code.name.lower(): counts[code] for code in Code if counts[code] or code is Code.OK}
