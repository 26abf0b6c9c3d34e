"""Dynamic batching: joins the waiting calls of one model into batches, and gives each caller its own rows.

A model may have several sessions, each in a thread of its own; none is idle while images wait. A batch holds
what has gathered while the sessions ran, up to ``max_batch`` images.

Fair queueing: a call of more than ``max_batch`` images gets a share of ``max_batch`` at a time, and its
remaining images rejoin the end of the queue after each. A call of one share therefore waits for the batches
that run when it arrives and then for at most one share of each call of its priority ahead of it, however
large they are. INTERACTIVE calls go first; of eight batches formed while both priorities wait, one begins
with BULK.
"""

from __future__ import annotations

import asyncio
import math
from enum import IntEnum
from typing import TYPE_CHECKING

from service.batching.queue import PendingCall, Queue
from service.batching.service_time import ServiceTime
from service.batching.session import Session
from service.errors import NotServingError
from service.observability.timing import ModelRun, clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.batching.queue import Images, Part, Probabilities
    from service.observability.timing import Timing

_BULK_TURN = 8  # every eighth batch that is formed while both priorities wait begins with BULK


class Priority(IntEnum):
    """Which calls go first when a batch is formed."""

    INTERACTIVE = 0
    BULK = 1


class Batcher:
    """Batches the calls of one model; for use within one event loop."""

    def __init__(
        self,
        runs: Sequence[Callable[[Images], Probabilities]],
        max_batch: int,
        *,
        max_queue_delay_s: float = 0.0,
        on_run: Callable[[ModelRun], None] | None = None,
        clock: Callable[[], float] = clock,
    ) -> None:
        """Make a batcher; nothing runs before ``start``.

        Args:
            runs: the model, one function per session: uint8 (n, ...) to float32 (n, classes); each is
                called in a thread of its own, one call at a time.
            max_batch: most images per run.
            max_queue_delay_s: how long a batch that is not full may wait for more images, from the
                arrival of its oldest one; 0 does not wait.
            on_run: called after each run, failed runs and retries included.
            clock: source of the recorded times; also called in the sessions' threads.
        """
        self._max_batch = max_batch
        self._max_queue_delay_s = max_queue_delay_s
        self._sessions = [Session(run, clock) for run in runs]
        self._free = self._sessions[::-1]  # last freed, first used: its caches are warm
        self._queues = [Queue(max_batch) for _ in Priority]
        self._service_time = ServiceTime(max_batch, len(self._sessions))
        self._on_run = on_run
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._dispatch_is_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._contested = 0
        self._earliest_deadline_s = math.inf

    @property
    def waiting_images(self) -> int:
        """Images submitted and not yet taken into a batch."""
        return sum(queue.images for queue in self._queues)

    def start(self) -> None:
        """Start the sessions; call it within the event loop."""
        self._loop = asyncio.get_running_loop()
        for session in self._sessions:
            session.start(self._loop, self._finish)

    def submit(
        self,
        images: Images,
        *,
        deadline_s: float | None = None,
        priority: Priority = Priority.INTERACTIVE,
        timing: Timing | None = None,
    ) -> asyncio.Future[Probabilities]:
        """Queue images for classification.

        Cancelling the future withdraws the images that are not yet in a batch. If a run of several calls
        fails, each is retried alone, so that only the offending call fails; the session is busy meanwhile.

        Args:
            images: uint8 (n, ...), n at least 1; do not write to it before the answer.
            deadline_s: in the event loop's time; images that cannot be answered by then are not run.
            priority: which queue the call joins.
            timing: records when the images wait and run; complete before the future is.

        Returns:
            Future of float32 (n, classes), one row per image in order. Its exception may be
            NotServingError: the batcher was closed first; DeadlineError: the deadline passed; or
            whatever the model raised for these images.

        Raises:
            NotServingError: the batcher has not started or is closed.
            ValueError: there are no images.
            DeadlineError: the deadline cannot be met.
        """
        loop = self._loop
        if loop is None:
            raise NotServingError("the server is stopping; ask again, elsewhere if you can")
        if not len(images):
            raise ValueError("a call needs at least one image")
        queue = self._queues[priority]
        now_s = loop.time()
        if deadline_s is not None:
            self._check(deadline_s, now_s, queue.ahead + len(images))
            self._earliest_deadline_s = min(self._earliest_deadline_s, deadline_s)
        call = PendingCall(images, loop.create_future(), queue, now_s, deadline_s, timing)
        if timing is not None:
            timing.queued_s = self._clock()
        queue.add(call)
        if self._free and not self._dispatch_is_due:
            # Not at once: all calls that arrive in this turn of the event loop share a batch.
            self._dispatch_is_due = True
            loop.call_soon(self._dispatch_soon)
        return call.future

    def check_deadline(self, n: int, deadline_s: float, priority: Priority) -> None:
        """Raise DeadlineError if ``n`` images cannot be answered by then, as ``submit`` would."""
        if self._loop is not None:
            self._check(deadline_s, self._loop.time(), self._queues[priority].ahead + n)

    def _check(self, deadline_s: float, now_s: float, images: int) -> None:
        error = self._service_time.deadline_error(deadline_s, now_s, images)
        if error is not None:
            raise error

    async def close(self) -> None:
        """Stop without waiting for running batches; unanswered calls get NotServingError."""
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
        stopping = NotServingError("the server stopped before it could answer; ask again")
        for session in self._sessions:
            session.stop()
            for call, _, _ in (*session.batch, *session.retries):
                call.fail(stopping)
            session.batch.clear()
            session.retries.clear()
        for queue in self._queues:
            for call in queue.calls():
                call.fail(stopping)

    def _dispatch_soon(self) -> None:
        self._dispatch_is_due = False
        if self._loop is not None:
            self._dispatch(self._loop)

    def _dispatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give each free session a batch while images wait."""
        while self._free and self.waiting_images and self._may_form(loop):
            batch = self._form(loop.time())
            if batch:
                self._free.pop().run(batch)

    def _may_form(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Return whether a batch is full or has waited long enough; if not, set a timer."""
        if not self._max_queue_delay_s or self.waiting_images >= self._max_batch:
            return True
        oldest_s = min(call.arrived_s for queue in self._queues for call in queue.calls())
        due_s = oldest_s + self._max_queue_delay_s
        if self._timer is not None:
            self._timer.cancel()
        if due_s <= loop.time():
            return True
        self._timer = loop.call_at(due_s, self._dispatch_soon)
        return False

    def _form(self, now_s: float) -> list[Part]:
        """Take up to ``max_batch`` images from the waiting calls."""
        if now_s > self._earliest_deadline_s:
            self._drop_late(now_s)
        batch: list[Part] = []
        capacity = self._max_batch
        taken_s = self._clock()
        for queue in self._by_priority():
            while capacity and queue.images:
                call = queue.first()
                if self._is_worth_running(call, now_s):
                    start = len(call.images) - call.left
                    if not start and call.timing is not None:
                        call.timing.taken_s = taken_s
                    n = queue.take(call, capacity)
                    capacity -= n
                    _append(batch, call, start, n)
        return batch

    def _by_priority(self) -> list[Queue]:
        interactive, bulk = self._queues
        if interactive.images and bulk.images:
            self._contested += 1
            if self._contested % _BULK_TURN == 0:
                return [bulk, interactive]
        return self._queues

    def _drop_late(self, now_s: float) -> None:
        """Drop all waiting calls that would be late; runs about once per deadline, not per batch."""
        calls = [call for queue in self._queues for call in queue.calls()]
        kept = [call for call in calls if self._is_worth_running(call, now_s)]
        self._earliest_deadline_s = min(
            (call.deadline_s for call in kept if call.deadline_s is not None), default=math.inf
        )

    def _is_worth_running(self, call: PendingCall, now_s: float) -> bool:
        """Return whether the call can still be answered in time; if not, it leaves its queue."""
        if call.future.done():  # its caller hung up in this turn of the event loop
            call.queue.drop(call)
            return False
        if call.deadline_s is not None:
            error = self._service_time.deadline_error(call.deadline_s, now_s, call.left)
            if error is not None:
                call.fail(error)
                return False
        return True

    def _finish(
        self, session: Session, outcome: Probabilities | BaseException, began_s: float, ended_s: float
    ) -> None:
        """Take a run's outcome, give the session its next batch, then answer the callers."""
        loop = self._loop
        if loop is None:
            return
        batch, session.batch = session.batch, []
        n = sum([len(images) for _, _, images in batch])
        self._record(ModelRun(n, began_s, ended_s), batch)
        if isinstance(outcome, BaseException):
            _fail_or_retry(session, batch, outcome)
        else:
            self._service_time.update(n, ended_s - began_s, loop.time())
            for call, _, _ in batch:
                if call.left:
                    call.queue.rejoin(call)
        if not self._retry(session, loop.time()):
            self._free.append(session)
            self._dispatch(loop)
        if not isinstance(outcome, BaseException):
            _deliver(batch, outcome)

    def _record(self, run: ModelRun, batch: list[Part]) -> None:
        for call, _, _ in batch:
            if call.timing is not None:
                call.timing.runs.append(run)
        if self._on_run is not None:
            self._on_run(run)

    def _retry(self, session: Session, now_s: float) -> bool:
        """Run the next part of a failed batch alone, if it is still worth it."""
        while session.retries:
            part = session.retries.popleft()
            if self._is_worth_running(part[0], now_s):
                session.run([part])
                return True
        return False


def _append(batch: list[Part], call: PendingCall, start: int, n: int) -> None:
    """Add ``n`` images of a call to a batch, as one part per call; a whole call is not sliced."""
    if n == len(call.images):
        batch.append((call, 0, call.images))
        return
    stop = start + n
    if batch and batch[-1][0] is call:  # its share is in the batch already, and it fills what is left
        start = batch.pop()[1]
    batch.append((call, start, call.images[start:stop]))


def _fail_or_retry(session: Session, batch: list[Part], error: BaseException) -> None:
    """Fail the call that ran alone; retry the calls of a larger batch one by one."""
    if len(batch) == 1:
        batch[0][0].fail(error)
    else:
        session.retries.extend(batch)


def _deliver(batch: list[Part], rows: Probabilities) -> None:
    """Give each call its rows."""
    end = 0
    for call, start, images in batch:
        begin, end = end, end + len(images)
        call.answer(start, rows[begin:end])
