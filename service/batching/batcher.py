"""Many callers, one model, each caller its own answer.

In: arrays of images, each with a caller that waits, a priority and perhaps a deadline. Out: to each caller
the rows of its own images, in order. The model may have several sessions, each in a thread of its own; a
free one never waits while images do. A batch is what has gathered meanwhile, up to ``max_batch`` images.

A call of more images is served a share of ``max_batch`` images at a time, and what is left of it queues up
again after each. A call of one share therefore waits for the batches that run when it comes and then for at
most one share of each call of its priority ahead of it, however large they are. Calls of priority NORMAL go
first; of eight batches formed while both wait, one begins with BULK.

Knows nothing of gRPC, pictures or classes.
"""

from __future__ import annotations

import asyncio
import math
from enum import IntEnum
from typing import TYPE_CHECKING

from service.batching.queue import Call, Line
from service.batching.service_time import Pace
from service.batching.session import Session
from service.errors import NotServingError
from service.observability.timing import ModelRun, clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.batching.queue import Images, Part, Probabilities
    from service.observability.timing import Timing

_BULK_TURN = 8  # of so many batches formed while both priorities wait, one begins with BULK


class Priority(IntEnum):
    """Who goes first when a batch is formed."""

    NORMAL = 0
    BULK = 1


class Batcher:
    """Joins waiting calls into batches for one model; to be used within one event loop."""

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
            runs: the model, once for each of its sessions: uint8 (n, ...) to float32 (n, classes);
                each is called in a thread of its own, never twice at a time.
            max_batch: most images a run.
            max_queue_delay_s: how long after its oldest image came a batch that is not full may
                wait for more; 0 is not at all.
            on_run: is told of each run that has ended, failed ones and repetitions too.
            clock: of the times that are noted; the models' threads call it too.
        """
        self._max_batch = max_batch
        self._max_queue_delay_s = max_queue_delay_s
        self._sessions = [Session(run, clock) for run in runs]
        self._free = self._sessions[::-1]  # the last one freed is taken first: its caches are warm
        self._lines = [Line(max_batch) for _ in Priority]
        self._pace = Pace(max_batch, len(self._sessions))
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
        return sum(line.images for line in self._lines)

    def start(self) -> None:
        """Begin to answer; called within the event loop."""
        self._loop = asyncio.get_running_loop()
        for session in self._sessions:
            session.start(self._loop, self._finish)

    def submit(
        self,
        images: Images,
        *,
        deadline_s: float | None = None,
        priority: Priority = Priority.NORMAL,
        timing: Timing | None = None,
    ) -> asyncio.Future[Probabilities]:
        """Ask for the answer to some images.

        Cancelling the future withdraws the images that have not been taken into a batch. When a run of
        several calls fails, each is run once more by itself, so that only the offender fails; the
        session is busy meanwhile.

        Args:
            images: uint8 (n, ...), n at least 1; not to be written to before the answer.
            deadline_s: in the event loop's time; images that cannot be answered by then are not run.
            priority: its place among the calls that wait.
            timing: gets to know when the images wait and run; all of it before the answer is there.

        Returns:
            Future of float32 (n, classes), row by row as the images came. Its exception may be
            NotServingError: the batcher was closed before the answer was complete; DeadlineError: the
            deadline passed meanwhile; or whatever the model raised for these images.

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
        line = self._lines[priority]
        now_s = loop.time()
        if deadline_s is not None:
            late = self._pace.late(deadline_s, now_s, line.ahead + len(images))
            if late is not None:
                raise late
            self._earliest_deadline_s = min(self._earliest_deadline_s, deadline_s)
        call = Call(images, loop.create_future(), line, now_s, deadline_s, timing)
        if timing is not None:
            timing.queued_s = self._clock()
        line.add(call)
        if self._free and not self._dispatch_is_due:
            # Not at once: all calls that come in this turn of the event loop share a batch.
            self._dispatch_is_due = True
            loop.call_soon(self._dispatch_soon)
        return call.answered

    def check_deadline(self, n: int, deadline_s: float, priority: Priority) -> None:
        """Raise DeadlineError if ``n`` images cannot be answered by then, as ``submit`` would."""
        if self._loop is not None:
            late = self._pace.late(deadline_s, self._loop.time(), self._lines[priority].ahead + n)
            if late is not None:
                raise late

    async def close(self) -> None:
        """Stop at once: whoever still waits gets NotServingError, and running batches are not waited for."""
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
        stopping = NotServingError("the server stopped before it could answer; ask again")
        for session in self._sessions:
            session.stop()
            for call, _, _ in (*session.batch, *session.again):
                call.fail(stopping)
            session.batch.clear()
            session.again.clear()
        for line in self._lines:
            for call in line.calls():
                call.fail(stopping)

    def _dispatch_soon(self) -> None:
        self._dispatch_is_due = False
        if self._loop is not None:
            self._dispatch(self._loop)

    def _dispatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give each free session a batch, while images wait."""
        while self._free and self.waiting_images and self._may_form(loop):
            batch = self._form(loop.time())
            if batch:
                self._free.pop().run(batch)

    def _may_form(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether a batch is full or has waited long enough; if not, come back when it has."""
        if not self._max_queue_delay_s or self.waiting_images >= self._max_batch:
            return True
        oldest_s = min(call.came_s for line in self._lines for call in line.calls())
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
        room = self._max_batch
        taken_s = self._clock()
        for line in self._in_order():
            while room and line.images:
                call = line.first()
                if self._is_worth_running(call, now_s):
                    start = len(call.images) - call.left
                    if not start and call.timing is not None:
                        call.timing.taken_s = taken_s
                    n = line.take(call, room)
                    room -= n
                    _append(batch, call, start, n)
        return batch

    def _in_order(self) -> list[Line]:
        normal, bulk = self._lines
        if normal.images and bulk.images:
            self._contested += 1
            if self._contested % _BULK_TURN == 0:
                return [bulk, normal]
        return self._lines

    def _drop_late(self, now_s: float) -> None:
        """Look at all calls that wait, which happens about once in the span of a deadline."""
        calls = [call for line in self._lines for call in line.calls()]
        kept = [call for call in calls if self._is_worth_running(call, now_s)]
        self._earliest_deadline_s = min(
            (call.deadline_s for call in kept if call.deadline_s is not None), default=math.inf
        )

    def _is_worth_running(self, call: Call, now_s: float) -> bool:
        """Whether someone waits for the call and can have it in time; if not, it leaves its line."""
        if call.answered.done():  # its caller hung up in this turn of the event loop
            call.line.drop(call)
            return False
        late = None if call.deadline_s is None else self._pace.late(call.deadline_s, now_s, call.left)
        if late is not None:
            call.fail(late)
        return late is None

    def _finish(
        self, session: Session, outcome: Probabilities | BaseException, began_s: float, ended_s: float
    ) -> None:
        """Take a run's outcome from its thread, give the session new work, then tell the callers."""
        loop = self._loop
        if loop is None:
            return
        batch, session.batch = session.batch, []
        n = sum([len(images) for _, _, images in batch])
        self._note(ModelRun(n, began_s, ended_s), batch)
        if isinstance(outcome, BaseException):
            _blame(session, batch, outcome)
        else:
            self._pace.note(n, ended_s - began_s, loop.time())
            for call, _, _ in batch:
                if call.left:
                    call.line.rejoin(call)
        if not self._run_again(session, loop.time()):
            self._free.append(session)
            self._dispatch(loop)
        if not isinstance(outcome, BaseException):
            _hand_out(batch, outcome)

    def _note(self, run: ModelRun, batch: list[Part]) -> None:
        for call, _, _ in batch:
            if call.timing is not None:
                call.timing.runs.append(run)
        if self._on_run is not None:
            self._on_run(run)

    def _run_again(self, session: Session, now_s: float) -> bool:
        """Repeat the next part of a failed batch by itself, if there is one that someone waits for."""
        while session.again:
            part = session.again.popleft()
            if self._is_worth_running(part[0], now_s):
                session.run([part])
                return True
        return False


def _append(batch: list[Part], call: Call, start: int, n: int) -> None:
    """Add ``n`` images of a call to a batch; a call alone in it needs no copy, and a whole one no slice."""
    if n == len(call.images):
        batch.append((call, 0, call.images))
        return
    stop = start + n
    if batch and batch[-1][0] is call:  # it had its share and fills the room that nobody else wants
        start = batch.pop()[1]
    batch.append((call, start, call.images[start:stop]))


def _blame(session: Session, batch: list[Part], error: BaseException) -> None:
    """Fail the call whose run failed; the calls of a batch are first run by themselves."""
    if len(batch) == 1:
        batch[0][0].fail(error)
    else:
        session.again.extend(batch)


def _hand_out(batch: list[Part], rows: Probabilities) -> None:
    """Give each call of a batch its rows."""
    end = 0
    for call, start, images in batch:
        begin, end = end, end + len(images)
        call.answer(start, rows[begin:end])
