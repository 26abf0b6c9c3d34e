"""Every caller gets its own rows, whatever the others do, and no image waits while a session is idle."""

from __future__ import annotations

import asyncio
import math
import threading
import time
import weakref
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.batching.batcher import Batcher, Priority
from service.errors import DeadlineError, NotServingError
from service.observability.timing import ModelRun, Timing

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Images = npt.NDArray[np.uint8]
    Probabilities = npt.NDArray[np.float32]
    Answer = asyncio.Future[Probabilities]

PATIENCE_S = 60
"""Timeout for what must happen at once."""
INTERACTIVE, BULK = Priority


class _Loop(asyncio.SelectorEventLoop):
    """An event loop with a manual clock."""

    now_s = 1000.0

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []
        """Errors in callbacks; answers that a test never reads are none."""
        self.set_exception_handler(self._note)

    def _note(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "never retrieved" not in context["message"]:
            self.errors.append(f"{context['message']}: {context.get('exception')!r}")

    def time(self) -> float:
        return self.now_s


class _Gate:
    """A session whose runs the test ends, with an outcome of its choice."""

    def __init__(self) -> None:
        self.started: SimpleQueue[Images] = SimpleQueue()
        self.verdicts: SimpleQueue[Callable[[Images], Probabilities]] = SimpleQueue()
        self.is_busy = False

    def run(self, images: Images) -> Probabilities:
        assert not self.is_busy, "a session runs one batch at a time"
        self.is_busy = True
        self.started.put(images)
        try:
            return self.verdicts.get(timeout=PATIENCE_S)(images)
        finally:
            self.is_busy = False


def _echo(images: Images) -> Probabilities:
    """Stand in for a model: each image, (caller, number), is its own answer."""
    return images.astype(np.float32)


def _fail(_: Images) -> Probabilities:
    raise RuntimeError("out of luck")


def _images(caller: str, n: int) -> Images:
    return np.array([(ord(caller), number) for number in range(n)], np.uint8)


class _Bench:
    """A batcher that the test drives: turns of the event loop, ends of runs, time.

    Callers are letters, and a batch is written as the callers of its images.
    """

    def __init__(self, max_batch: int = 4, *, sessions: int = 1, delay_s: float = 0.0) -> None:
        self.loop = _Loop()
        self.gates = [_Gate() for _ in range(sessions)]
        self.runs: list[ModelRun] = []
        self.batcher = Batcher(
            [gate.run for gate in self.gates],
            max_batch,
            max_queue_delay_s=delay_s,
            on_run=self.runs.append,
            clock=self.loop.time,
        )
        self.running: dict[int, Images] = {}
        """What each session runs."""
        self.batches: list[str] = []
        """All that have begun, in order."""
        self.loop.run_until_complete(self._start())

    async def _start(self) -> None:
        self.batcher.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.run_until_complete(self.batcher.close())
        for gate in self.gates:
            gate.verdicts.put(_fail)
        self.loop.close()
        assert self.loop.errors == []

    def ask(
        self, caller: str, n: int = 1, priority: Priority = INTERACTIVE, *, within_s: float | None = None
    ) -> Answer:
        deadline_s = None if within_s is None else self.loop.now_s + within_s
        return self.batcher.submit(_images(caller, n), deadline_s=deadline_s, priority=priority)

    def settle(self) -> dict[int, Images]:
        """ModelRun the event loop until it is idle; return the runs that began."""
        for _ in range(4):
            self.loop.run_until_complete(asyncio.sleep(0))
        began = {
            index: self.gates[index].started.get(timeout=PATIENCE_S)
            for index, session in enumerate(self.batcher._sessions)
            if session.batch and index not in self.running
        }
        self.running |= began
        self.batches += ["".join(map(chr, images[:, 0].tolist())) for images in began.values()]
        return began

    def finish(
        self,
        session: int = 0,
        verdict: Callable[[Images], Probabilities] = _echo,
        *,
        after_s: float = 0.0,
    ) -> dict[int, Images]:
        """End a session's run; return the runs that began after it."""
        self.loop.now_s += after_s
        runs = len(self.runs)
        del self.running[session]
        self.gates[session].verdicts.put(verdict)
        give_up_s = time.monotonic() + PATIENCE_S
        while len(self.runs) == runs:
            assert time.monotonic() < give_up_s
            self.loop.run_until_complete(asyncio.sleep(0))
        return self.settle()

    def finish_all(self) -> None:
        """Finish all runs, also those that begin meanwhile."""
        self.settle()
        while self.running:
            self.finish(min(self.running))


@pytest.mark.parametrize("sessions", [1, 2])
def test_what_gathers_while_the_model_runs_is_the_next_batch(sessions: int) -> None:
    with _Bench(8, sessions=sessions) as bench:
        for caller in "ABC"[:sessions]:
            bench.ask(caller)
            bench.settle()
        for caller in "XYZ":
            bench.ask(caller)
            bench.settle()

        bench.finish()

        assert bench.batches == [*"AB"[:sessions], "XYZ"]


def test_calls_of_one_turn_of_the_event_loop_share_a_batch() -> None:
    with _Bench() as bench:
        for caller in "ABC":
            bench.ask(caller)

        bench.settle()

        assert bench.batches == ["ABC"]


def test_the_limit_counts_images_and_a_split_call_is_put_together() -> None:
    with _Bench() as bench:
        answers = [bench.ask(caller, 3) for caller in "ABC"]

        bench.finish_all()

        assert bench.batches == ["AAAB", "BBCC", "C"]
        for caller, answer in zip("ABC", answers, strict=True):
            assert answer.result().tolist() == _images(caller, 3).tolist()
            assert answer.result().dtype == np.float32


def test_a_small_call_waits_for_the_running_batch_and_not_for_a_large_call() -> None:
    with _Bench() as bench:
        large = bench.ask("L", 16)
        bench.settle()
        small = [bench.ask(caller) for caller in "XY"]

        bench.finish()
        bench.finish()

        assert bench.batches == ["LLLL", "XYLL", "LLLL"]
        assert all(answer.done() for answer in small)
        assert not large.done()
        bench.finish_all()
        assert large.result().tolist() == _images("L", 16).tolist()


def test_large_calls_take_turns() -> None:
    with _Bench() as bench:
        for caller in "ABC":
            bench.ask(caller, 9)

        bench.finish_all()

        assert bench.batches == ["AAAA", "BBBB", "CCCC", "AAAA", "BBBB", "CCCC", "ABC"]


@settings(max_examples=100, deadline=None)
@given(
    max_batch=st.integers(1, 6),
    before=st.lists(st.integers(1, 30), max_size=6),
    runs=st.integers(0, 6),
    probe=st.integers(1, 6),
    after=st.lists(st.integers(1, 30), max_size=4),
)
def test_a_small_call_waits_for_one_share_of_each_call_ahead(
    max_batch: int, before: list[int], runs: int, probe: int, after: list[int]
) -> None:
    probe = min(probe, max_batch)
    with _Bench(max_batch) as bench:
        others = [bench.ask(chr(ord("a") + index), n) for index, n in enumerate(before)]
        bench.settle()
        for _ in range(runs):
            if bench.running:
                bench.finish()
        left = [n - "".join(bench.batches).count(chr(ord("a") + i)) for i, n in enumerate(before)]
        ahead = sum(
            min(n, max_batch) for n, other in zip(left, others, strict=True) if n and not other.done()
        )
        begun = len(bench.batches)

        answer = bench.ask("P", probe)
        for index, n in enumerate(after):
            bench.ask(chr(ord("A") + index), n)
        bench.settle()
        while not answer.done():
            bench.finish()

        last = max(number for number, batch in enumerate(bench.batches, 1) if "P" in batch)
        assert last - begun <= math.ceil((ahead + probe) / max_batch)


def test_interactive_calls_go_first_and_bulk_fills_the_rest() -> None:
    with _Bench() as bench:
        bench.ask("X", 4)
        bench.settle()
        bench.ask("b", 3, BULK)
        bench.ask("N", 2)

        bench.finish_all()

        assert bench.batches == ["XXXX", "NNbb", "b"]


def test_bulk_begins_one_batch_in_eight_whatever_else_waits() -> None:
    with _Bench() as bench:
        bench.ask("b", 30, BULK)
        bench.ask("N", 250)
        bench.settle()
        while len(bench.batches) < 56:
            bench.finish()

        assert bench.batches == ([*["NNNN"] * 7, "bbbb"] * 7)


def test_a_deadline_that_has_passed_is_refused_at_once() -> None:
    with _Bench() as bench:
        with pytest.raises(DeadlineError, match=r"the deadline passed 250 ms ago"):
            bench.ask("A", within_s=-0.25)

        assert bench.batcher.waiting_images == 0


def test_a_call_whose_deadline_passes_is_not_run_and_its_neighbours_are() -> None:
    with _Bench() as bench:
        bench.ask("X")
        bench.settle()
        late = bench.ask("A", 2, within_s=1)
        last = bench.ask("b", BULK, within_s=1)
        neighbour = bench.ask("B", within_s=3)

        bench.finish(after_s=2)

        assert bench.batches == ["X", "B"]
        assert isinstance(late.exception(), DeadlineError)
        assert isinstance(last.exception(), DeadlineError)
        bench.finish()
        assert neighbour.result().tolist() == _images("B", 1).tolist()


def test_a_late_call_at_the_end_of_the_queue_fails_when_a_batch_forms() -> None:
    with _Bench() as bench:
        bench.ask("A", 9)
        bench.settle()
        for caller in "BC":
            bench.ask(caller, 9)
        late = [bench.ask("D", within_s=1), bench.ask("E", within_s=5)]

        bench.finish(after_s=2)
        assert [answer.done() for answer in late] == [True, False]
        bench.finish(after_s=4)

        assert bench.batches == ["AAAA", "BBBB", "CCCC"]
        assert [answer.done() for answer in late] == [True, True]


def test_what_is_left_of_a_late_call_is_not_run() -> None:
    with _Bench() as bench:
        late = bench.ask("A", 9, within_s=1)
        bench.settle()

        bench.finish(after_s=2)

        assert bench.batches == ["AAAA"]
        assert isinstance(late.exception(), DeadlineError)
        assert bench.batcher.waiting_images == 0


def _busy_bench(*, sessions: int = 1) -> _Bench:
    """Make a bench that has learned that an image takes a second, and whose sessions are busy."""
    bench = _Bench(4, sessions=sessions)
    bench.ask("T", 4)
    bench.settle()
    bench.finish(after_s=4)
    for _ in range(sessions):
        bench.ask("X", 4)
    bench.settle()
    return bench


def test_a_call_that_would_be_late_at_twice_the_speed_is_refused() -> None:
    with _busy_bench() as bench:
        for caller in "ABC":
            bench.ask(caller, 3)

        with pytest.raises(
            DeadlineError,
            match=r"would be answered in about 5,000 ms at the earliest, the deadline is in 4,900 ms; ask",
        ):
            bench.ask("D", within_s=4.9)
        bench.ask("D", within_s=5)  # (9 + 1) images, half a second each

        assert bench.batcher.waiting_images == 10


def test_two_sessions_promise_twice_as_much() -> None:
    with _busy_bench(sessions=2) as bench:
        with pytest.raises(DeadlineError):
            bench.ask("D", 4, within_s=0.9)

        bench.ask("D", 4, within_s=1)


def test_only_one_share_of_a_large_call_counts_as_ahead_and_nothing_of_bulk() -> None:
    with _busy_bench() as bench:
        bench.ask("L", 100)
        bench.ask("b", 100, BULK)

        bench.ask("D", within_s=2.5)  # (4 + 1) images, half a second each
        with pytest.raises(DeadlineError):
            bench.ask("E", within_s=2.9)


def test_a_call_that_hung_up_is_no_longer_ahead() -> None:
    with _busy_bench() as bench:
        bench.ask("L", 100).cancel()
        bench.settle()

        bench.ask("D", within_s=0.5)


def test_a_call_that_can_no_longer_be_met_is_dropped_when_its_turn_comes() -> None:
    with _busy_bench() as bench:
        large = bench.ask("L", 8, within_s=4.2)
        small = bench.ask("S", within_s=4.5)

        bench.finish(after_s=1)

        assert bench.batches[-1] == "S"
        assert isinstance(large.exception(), DeadlineError)
        assert not small.done()


def test_small_runs_teach_nothing_and_old_ones_are_forgotten() -> None:
    with _Bench() as bench:
        bench.ask("A")
        bench.settle()
        bench.finish(after_s=100)
        bench.ask("B", 9, within_s=1)
    with _busy_bench() as bench:
        bench.loop.now_s += 3

        bench.ask("B", 9, within_s=1)


def test_the_usual_speed_follows_the_latest_runs() -> None:
    with _busy_bench() as bench:
        for _ in range(20):
            bench.ask("A", 4)
            bench.finish(after_s=0.4)

        bench.ask("A", 4, within_s=0.3)
        with pytest.raises(DeadlineError):
            bench.ask("A", 4, within_s=0.3)


def test_hanging_up_withdraws_images_and_memory_at_once() -> None:
    with _Bench() as bench:
        bench.ask("X", 4)
        bench.settle()
        images = _images("A", 50)
        memory = weakref.ref(images)
        leaving = bench.batcher.submit(images)
        staying = bench.ask("B")
        del images

        leaving.cancel()
        bench.loop.run_until_complete(asyncio.sleep(0))

        assert bench.batcher.waiting_images == 1
        assert memory() is None
        bench.finish_all()
        assert bench.batches == ["XXXX", "B"]
        assert staying.result().tolist() == _images("B", 1).tolist()


def test_hanging_up_in_the_turn_of_the_call_runs_nothing() -> None:
    with _Bench() as bench:
        bench.ask("A").cancel()
        bench.ask("B")

        bench.settle()

        assert bench.batches == ["B"]


def test_hanging_up_during_the_run_leaves_batch_mates_answered() -> None:
    with _Bench(9) as bench:
        leaving = bench.ask("A", 2)
        staying = bench.ask("B", 2)
        bench.settle()

        leaving.cancel()
        bench.finish()

        assert staying.result().tolist() == _images("B", 2).tolist()


def _poisonous(images: Images) -> Probabilities:
    if (images[:, 0] == ord("P")).any():
        raise RuntimeError("poisoned")
    return _echo(images)


def test_batch_mates_of_a_poisoned_call_are_answered() -> None:
    with _Bench() as bench:
        answers = {caller: bench.ask(caller) for caller in "APB"}
        bench.settle()
        waiting = bench.ask("C")

        for _ in range(5):
            bench.finish(verdict=_poisonous)

        assert bench.batches == ["APB", "A", "P", "B", "C"]
        assert answers["A"].result().tolist() == _images("A", 1).tolist()
        assert str(answers["P"].exception()) == "poisoned"
        assert answers["B"].result().tolist() == _images("B", 1).tolist()
        assert waiting.result().tolist() == _images("C", 1).tolist()


def test_nothing_more_is_run_of_a_call_that_failed() -> None:
    with _Bench() as bench:
        failed = bench.ask("P", 9)
        other = bench.ask("B")
        bench.settle()

        bench.finish(verdict=_poisonous)

        assert bench.batches == ["PPPP", "B"]
        assert str(failed.exception()) == "poisoned"
        assert bench.batcher.waiting_images == 0
        bench.finish()
        assert other.done()


def test_a_batch_mate_that_hung_up_or_is_late_is_not_run_again() -> None:
    with _Bench() as bench:
        leaving = bench.ask("A")
        late = bench.ask("B", within_s=1)
        staying = bench.ask("C")
        bench.settle()
        leaving.cancel()

        bench.finish(verdict=_fail, after_s=2)

        assert bench.batches == ["ABC", "C"]
        assert isinstance(late.exception(), DeadlineError)
        bench.finish()
        assert staying.result().tolist() == _images("C", 1).tolist()


def test_a_model_that_loses_rows_is_an_error() -> None:
    with _Bench() as bench:
        answer = bench.ask("A", 3)
        bench.settle()

        bench.finish(verdict=lambda images: _echo(images)[1:])

        assert str(answer.exception()) == "the model answered 2 rows to 3 images"


def test_images_that_have_been_run_are_not_kept() -> None:
    with _Bench() as bench:
        images = _images("A", 3)
        memory = weakref.ref(images)
        bench.batcher.submit(images)
        bench.settle()
        del images
        bench.running[0] = _images("A", 3)

        bench.finish()

        give_up_s = time.monotonic() + PATIENCE_S
        while memory() is not None:  # the thread lets go a moment after it has answered
            assert time.monotonic() < give_up_s


def test_images_of_one_call_are_not_copied() -> None:
    with _Bench() as bench:
        small, large = _images("S", 3), _images("L", 9)
        answer = bench.batcher.submit(small)
        bench.batcher.submit(large)
        bench.settle()
        bench.finish()

        assert bench.batches == ["SSSL", "LLLL"]  # the rest of a share, and more of the same call
        assert np.shares_memory(bench.running[0], large)
        bench.finish_all()
        assert answer.result().tolist() == small.tolist()
        bench.batcher.submit(small)
        bench.settle()
        assert bench.running[0] is small


def test_sessions_run_at_the_same_time_and_share_a_large_call() -> None:
    with _Bench(sessions=3) as bench:
        large = bench.ask("L", 17)
        bench.settle()
        assert bench.batches == ["LLLL", "LLLL", "LLLL"]
        small = bench.ask("S")

        bench.finish(2)
        bench.finish(2)
        assert bench.batches[3:] == ["SLLL", "LL"]
        bench.finish_all()

        assert small.result().tolist() == _images("S", 1).tolist()
        assert large.result().tolist() == _images("L", 17).tolist()


def test_a_call_that_got_its_share_waits_for_calls_that_arrived_meanwhile() -> None:
    with _Bench(sessions=2) as bench:
        bench.ask("X")
        bench.settle()
        bench.ask("L", 9)
        bench.settle()
        bench.ask("S")

        bench.finish(0)

        assert bench.batches == ["X", "LLLL", "SLLL"]


def test_a_call_whose_slices_run_in_two_sessions_fails_once() -> None:
    with _Bench(sessions=2) as bench:
        failed = bench.ask("P", 9)
        bench.settle()

        bench.finish(0, _fail)
        bench.finish(1)

        assert bench.batches == ["PPPP", "PPPP"]
        assert str(failed.exception()) == "out of luck"


def test_a_batch_waits_for_more_no_longer_than_the_queue_delay() -> None:
    with _Bench(delay_s=5) as bench:
        bench.ask("A")
        bench.settle()
        bench.loop.now_s += 3
        bench.ask("B")
        bench.settle()
        bench.loop.now_s += 1.9
        bench.settle()
        assert bench.batches == []

        bench.loop.now_s += 0.2

        bench.settle()
        assert bench.batches == ["AB"]


def test_a_full_batch_never_waits_and_what_is_over_waits_its_own_time() -> None:
    with _Bench(delay_s=5) as bench:
        bench.ask("A", 3)
        bench.settle()
        bench.loop.now_s += 3
        bench.ask("B", 2)
        bench.ask("C")
        bench.settle()
        assert bench.batches == ["AAAB"]

        bench.finish()
        assert bench.batches == ["AAAB"]
        bench.loop.now_s += 5

        bench.settle()
        assert bench.batches == ["AAAB", "BC"]


def test_every_run_is_reported_with_its_images() -> None:
    with _Bench() as bench:
        bench.ask("A", 3)
        bench.ask("B", 2)
        bench.settle()
        bench.finish(verdict=_fail)
        bench.finish_all()

        assert bench.batches == ["AAAB", "AAA", "B", "B"]
        assert [run.images for run in bench.runs] == [4, 3, 1, 1]


def test_a_call_learns_when_its_images_waited_and_ran() -> None:
    with _Bench() as bench:
        timings = [Timing(), Timing()]
        bench.loop.now_s = 0
        bench.batcher.submit(_images("A", 3), timing=timings[0])
        bench.settle()
        bench.loop.now_s += 1
        bench.batcher.submit(_images("B", 5), timing=timings[1])
        bench.finish(after_s=2)
        bench.finish(after_s=4)
        bench.finish(after_s=8)

        assert [(timing.queued_s, timing.taken_s) for timing in timings] == [(0, 0), (1, 3)]
        assert [[(run.images, run.began_s, run.ended_s) for run in timing.runs] for timing in timings] == [
            [(3, 0, 3)],
            [(4, 3, 7), (1, 7, 15)],
        ]


def test_a_call_needs_images() -> None:
    with _Bench() as bench, pytest.raises(ValueError, match="at least one image"):
        bench.ask("A", 0)


def test_closing_fails_all_waiting_calls_and_waits_for_none() -> None:
    with _Bench() as bench:
        answers = [bench.ask("A", 9), bench.ask("B", priority=BULK), bench.ask("C")]
        bench.settle()
        answers[2].cancel()

        bench.loop.run_until_complete(bench.batcher.close())  # the model is still at work

        assert [type(answer.exception()) for answer in answers[:2]] == [NotServingError] * 2
        assert bench.batcher.waiting_images == 0
        with pytest.raises(NotServingError, match="stopping"):
            bench.ask("D")


def test_a_batcher_that_has_not_started_serves_nobody() -> None:
    with pytest.raises(NotServingError):
        Batcher([_echo], 4).submit(_images("A", 1))


@pytest.mark.parametrize("is_loop_closed", [False, True])
def test_a_model_that_answers_after_the_end_troubles_nobody(*, is_loop_closed: bool) -> None:
    others = set(threading.enumerate())
    bench = _Bench()
    answer = bench.ask("A")
    bench.settle()
    bench.loop.run_until_complete(bench.batcher.close())
    if is_loop_closed:
        bench.loop.close()

    bench.gates[0].verdicts.put(_echo)

    for thread in set(threading.enumerate()) - others:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    if not is_loop_closed:
        bench.loop.run_until_complete(asyncio.sleep(0))
        bench.loop.close()
    assert bench.loop.errors == []
    assert isinstance(answer.exception(), NotServingError)


@dataclass
class _Caller:
    """One call of the state machine, and its observed outcome."""

    n: int
    deadline_s: float
    answer: Answer
    taken: int = 0
    has_failed: bool = False
    """A run of its images alone failed."""

    @property
    def left(self) -> int:
        return 0 if self.answer.done() else self.n - self.taken


_calls = st.lists(
    st.tuples(
        st.integers(1, 12),
        st.sampled_from(Priority),
        st.none() | st.sampled_from([-1.0, 0.0, 1.0, 5.0, 20.0]),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


class _Machine(RuleBasedStateMachine):
    """Any calls, hang-ups, failures and passing of time, in any order."""

    @initialize(
        max_batch=st.integers(1, 6), sessions=st.integers(1, 3), delay_s=st.sampled_from([0.0, 0.0, 3.0])
    )
    def open(self, max_batch: int, sessions: int, delay_s: float) -> None:
        self.max_batch, self.delay_s = max_batch, delay_s
        self.bench = _Bench(max_batch, sessions=sessions, delay_s=delay_s)
        self.callers: dict[int, _Caller] = {}
        self.came_s: dict[int, float] = {}
        self.hung_up: set[int] = set()
        self.again: dict[int, list[Images]] = {session: [] for session in range(sessions)}
        self.slowest_image_s = 0.0
        self.is_closed = False

    @rule(calls=_calls, hang_up=st.booleans())
    @precondition(lambda self: len(self.callers) < 200)
    def ask(self, calls: list[tuple[int, Priority, float | None, bool]], *, hang_up: bool) -> None:
        for n, priority, within_s, leaves in calls:
            self._ask(n, priority, within_s)
            if hang_up and leaves and self.callers:
                self._hang_up(max(self.callers))
        self._watch(self.bench.settle())

    def _ask(self, n: int, priority: Priority, within_s: float | None) -> None:
        number = len(self.callers) + 1
        waiting = self.bench.batcher.waiting_images
        try:
            answer = self.bench.ask(chr(number), n, priority, within_s=within_s)
        except NotServingError:
            assert self.is_closed
        except DeadlineError:
            assert within_s is not None
            assert within_s < (waiting + n) * self.slowest_image_s / 2 / len(self.again) or within_s < 0
        else:
            assert not self.is_closed
            now_s = self.bench.loop.now_s
            self.callers[number] = _Caller(n, math.inf if within_s is None else now_s + within_s, answer)
            self.came_s[number] = now_s

    @rule(data=st.data())
    @precondition(lambda self: any(not caller.answer.done() for caller in self.callers.values()))
    def hang_up(self, data: st.DataObject) -> None:
        waiting = [number for number, caller in self.callers.items() if not caller.answer.done()]
        self._hang_up(data.draw(st.sampled_from(waiting)))
        self._watch(self.bench.settle())

    def _hang_up(self, number: int) -> None:
        if self.callers[number].answer.cancel():
            self.hung_up.add(number)

    @rule(
        data=st.data(),
        fails=st.sampled_from([False, False, False, True]),
        after_s=st.sampled_from([0.0, 0.5, 4.0]),
    )
    @precondition(lambda self: self.bench.running and not self.is_closed)
    def finish(self, data: st.DataObject, after_s: float, *, fails: bool) -> None:
        self._finish(data.draw(st.sampled_from(sorted(self.bench.running))), after_s, fails=fails)

    def _finish(self, session: int, after_s: float = 0.0, *, fails: bool = False) -> None:
        images = self.bench.running[session]
        callers = dict.fromkeys(images[:, 0].tolist())
        if fails and len(callers) == 1:
            self.callers[next(iter(callers))].has_failed = True
        elif fails:
            cuts = np.flatnonzero(np.diff(images[:, 0].astype(int))) + 1
            self.again[session] = np.split(images, cuts)
        self.slowest_image_s = max(self.slowest_image_s, self.bench.loop.now_s + after_s - 1000)
        self._watch(self.bench.finish(session, _fail if fails else _echo, after_s=after_s))

    @rule(seconds=st.sampled_from([0.5, 2.0, 30.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.bench.loop.now_s += seconds
        self._watch(self.bench.settle())

    @rule()
    @precondition(lambda self: len(self.callers) > 10)
    def close(self) -> None:
        self.is_closed = True
        self.bench.loop.run_until_complete(self.bench.batcher.close())
        assert all(caller.answer.done() for caller in self.callers.values())

    def _watch(self, began: dict[int, Images]) -> None:
        """Check that runs that begin are allowed to, and remember what they take."""
        taken: dict[int, list[int]] = {}
        for session, images in began.items():
            assert 1 <= len(images) <= self.max_batch
            for number in set(images[:, 0].tolist()):
                caller = self.callers[number]
                assert number not in self.hung_up
                assert self.bench.loop.now_s <= caller.deadline_s
                assert not caller.has_failed
            if not self._is_repeated(session, images):
                for number, index in images.tolist():
                    taken.setdefault(number, []).append(index)
        for number, indices in taken.items():
            caller = self.callers[number]
            caller.taken += len(indices)  # each once, and in order
            assert sorted(indices) == list(range(caller.taken - len(indices), caller.taken))

    def _is_repeated(self, session: int, images: Images) -> bool:
        """Whether this is the next part of a failed batch whose caller still waits."""
        while self.again[session]:
            part = self.again[session].pop(0)
            if part.tolist() == images.tolist():
                return True
            assert self.callers[part[0, 0]].answer.done()
        return False

    @invariant()
    def images_that_wait_are_counted(self) -> None:
        left = sum(caller.left for caller in self.callers.values())
        assert self.bench.batcher.waiting_images == left

    @invariant()
    def no_image_waits_while_a_session_is_free(self) -> None:
        waiting = [number for number, caller in self.callers.items() if caller.left]
        if waiting and len(self.bench.running) < len(self.again):
            oldest_s = min(self.came_s[number] for number in waiting)
            assert self.bench.loop.now_s < oldest_s + self.delay_s
            assert self.bench.batcher.waiting_images < self.max_batch

    @invariant()
    def everybody_gets_what_is_due(self) -> None:
        for number, caller in self.callers.items():
            if caller.answer.done():
                self._check(number, caller)

    def _check(self, number: int, caller: _Caller) -> None:
        if caller.answer.cancelled():
            assert number in self.hung_up
            return
        error = caller.answer.exception()
        if error is None:
            assert caller.answer.result().tolist() == _images(chr(number), caller.n).tolist()
        elif isinstance(error, DeadlineError):
            assert caller.deadline_s < math.inf
        elif isinstance(error, NotServingError):
            assert self.is_closed
        else:
            assert caller.has_failed

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        with self.bench:
            if not self.is_closed:
                self.bench.loop.now_s += self.delay_s
                self._watch(self.bench.settle())
                while self.bench.running:
                    self._finish(min(self.bench.running))
            assert all(caller.answer.done() for caller in self.callers.values())
            self.everybody_gets_what_is_due()


_Machine.TestCase.settings = settings(max_examples=70, stateful_step_count=40, deadline=None)
TestAnyOrderOfEvents = _Machine.TestCase


@dataclass(frozen=True)
class _Asker:
    """A caller in the test with free-running threads."""

    n: int
    poison: bool
    patience: int | None
    """Turns of the event loop until it hangs up; None waits for its answer."""
    delay: int
    """Turns of the event loop before it asks."""


_askers = st.lists(
    st.builds(
        _Asker,
        n=st.integers(1, 9),
        poison=st.booleans(),
        patience=st.none() | st.integers(0, 12),
        delay=st.integers(0, 12),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=100, deadline=None)
@given(askers=_askers, max_batch=st.integers(1, 8), sessions=st.integers(1, 3))
def test_callers_of_threads_that_run_freely_get_their_own_rows(
    askers: list[_Asker], max_batch: int, sessions: int
) -> None:
    async def call(batcher: Batcher, number: int, asker: _Asker) -> object:
        for _ in range(asker.delay):
            await asyncio.sleep(0)
        answer = batcher.submit(_images("P" if asker.poison else chr(number), asker.n))
        if asker.patience is not None:
            for _ in range(asker.patience):
                await asyncio.sleep(0)
            answer.cancel()
        return (await asyncio.gather(answer, return_exceptions=True))[0]

    async def main() -> list[object]:
        batcher = Batcher([_poisonous] * sessions, max_batch)
        batcher.start()
        try:
            async with asyncio.timeout(60):
                return await asyncio.gather(*(call(batcher, *asker) for asker in enumerate(askers)))
        finally:
            await batcher.close()

    outcomes = asyncio.run(main())

    for number, (asker, outcome) in enumerate(zip(askers, outcomes, strict=True)):
        if isinstance(outcome, asyncio.CancelledError):
            assert asker.patience is not None
        elif asker.poison:
            assert str(outcome) == "poisoned"
        else:
            assert isinstance(outcome, np.ndarray)
            assert outcome.tolist() == _images(chr(number), asker.n).tolist()
