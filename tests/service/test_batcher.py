"""Every caller gets its own answer, whatever the others do, and no image waits while the model is free."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batcher import Batcher
from service.errors import NotServingError

POISON = 255


def _double(images: np.ndarray) -> np.ndarray:
    """Stand in for a model: (n, 1) uint8 to (n, 2) float32, refusing a batch with poison in it."""
    if (images == POISON).any():
        raise RuntimeError("poisoned batch")
    return np.concatenate([images, images * 2.0], axis=1).astype(np.float32)


def _rows(*values: int) -> np.ndarray:
    return np.array(values, np.uint8).reshape(-1, 1)


class _Gate:
    """A model that waits to be let through, and remembers each batch it ran."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self.opened = threading.Semaphore(0)

    def run(self, images: np.ndarray) -> np.ndarray:
        self.batches.append(images[:, 0].tolist())
        self.entered.release()
        assert self.opened.acquire(timeout=10)
        return _double(images)

    async def wait_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=10)


@dataclass(frozen=True)
class _Caller:
    values: tuple[int, ...]
    patience: int | None
    """Turns of the event loop until it hangs up; None waits for its answer."""
    delay: int
    """Turns of the event loop before it asks."""


_callers = st.lists(
    st.builds(
        _Caller,
        values=st.lists(st.integers(0, 100) | st.just(POISON), min_size=1, max_size=9).map(tuple),
        patience=st.none() | st.integers(0, 12),
        delay=st.integers(0, 12),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(callers=_callers, max_batch=st.integers(1, 8))
def test_each_caller_gets_its_own_rows_whatever_others_do(callers: list[_Caller], max_batch: int) -> None:
    sizes: list[int] = []

    def model(images: np.ndarray) -> np.ndarray:
        sizes.append(len(images))
        return _double(images)

    async def call(batcher: Batcher, caller: _Caller) -> object:
        for _ in range(caller.delay):
            await asyncio.sleep(0)
        asking = asyncio.ensure_future(batcher.submit(_rows(*caller.values)))
        if caller.patience is not None:
            for _ in range(caller.patience):
                await asyncio.sleep(0)
            asking.cancel()
        return (await asyncio.gather(asking, return_exceptions=True))[0]

    async def main() -> list[object]:
        batcher = Batcher(model, max_batch)
        batcher.start()
        try:
            async with asyncio.timeout(20):
                return await asyncio.gather(*(call(batcher, caller) for caller in callers))
        finally:
            await batcher.close()

    outcomes = asyncio.run(main())

    assert all(1 <= size <= max_batch for size in sizes)
    clean = not any(POISON in caller.values for caller in callers)
    for caller, outcome in zip(callers, outcomes, strict=True):
        if isinstance(outcome, np.ndarray):
            assert outcome.tolist() == _double(_rows(*caller.values)).tolist()
        elif isinstance(outcome, asyncio.CancelledError):
            assert caller.patience is not None
        else:
            assert str(outcome) == "poisoned batch"
            assert not clean


def test_what_gathers_while_the_model_runs_is_the_next_batch() -> None:
    async def main() -> list[list[int]]:
        gate = _Gate()
        batcher = Batcher(gate.run, 8)
        batcher.start()
        first = asyncio.ensure_future(batcher.submit(_rows(1)))
        await gate.wait_entered()  # a free model took the one image at once
        others = [asyncio.ensure_future(batcher.submit(_rows(value))) for value in (2, 3, 4)]
        await asyncio.sleep(0)
        gate.opened.release(2)
        await asyncio.gather(first, *others)
        await batcher.close()
        return gate.batches

    assert asyncio.run(main()) == [[1], [2, 3, 4]]


def test_the_limit_counts_images_and_a_split_call_is_put_together() -> None:
    calls = [_rows(1, 2, 3), _rows(4, 5, 6), _rows(7, 8, 9)]

    async def main() -> tuple[list[list[int]], list[np.ndarray]]:
        gate = _Gate()
        gate.opened.release(100)
        batcher = Batcher(gate.run, 4)
        batcher.start()
        answers = await asyncio.gather(*map(batcher.submit, calls))
        await batcher.close()
        return gate.batches, answers

    batches, answers = asyncio.run(main())
    assert batches == [[1, 2, 3, 4], [7, 8, 9, 5], [6]]
    for call, answer in zip(calls, answers, strict=True):
        assert answer.tolist() == _double(call).tolist()


def test_a_small_call_waits_for_the_running_batch_and_not_for_a_large_call() -> None:
    async def main() -> list[list[int]]:
        gate = _Gate()
        batcher = Batcher(gate.run, 4)
        batcher.start()
        large = asyncio.ensure_future(batcher.submit(_rows(*([100] * 40))))
        await gate.wait_entered()
        small = [asyncio.ensure_future(batcher.submit(_rows(value))) for value in (1, 2)]
        await asyncio.sleep(0)
        gate.opened.release(2)
        await asyncio.gather(*small)
        assert not large.done()
        gate.opened.release(100)
        assert (await large).shape == (40, 2)
        await batcher.close()
        return gate.batches

    batches = asyncio.run(main())
    assert batches[:3] == [[100] * 4, [1, 2, 100, 100], [100] * 4]
    assert sum(map(len, batches)) == 42


def test_hanging_up_frees_the_model_from_work_not_begun() -> None:
    async def main() -> list[list[int]]:
        gate = _Gate()
        batcher = Batcher(gate.run, 4)
        batcher.start()
        first = asyncio.ensure_future(batcher.submit(_rows(1)))
        await gate.wait_entered()
        leaving = asyncio.ensure_future(batcher.submit(_rows(*([2] * 50))))
        staying = asyncio.ensure_future(batcher.submit(_rows(3)))
        await asyncio.sleep(0)
        leaving.cancel()
        gate.opened.release(2)
        assert (await staying).tolist() == [[3, 6]]
        await first
        await batcher.close()
        return gate.batches

    assert asyncio.run(main()) == [[1], [3]]


def test_closing_tells_everybody_who_waits_and_waits_for_nobody() -> None:
    async def main() -> None:
        gate = _Gate()
        batcher = Batcher(gate.run, 1)
        batcher.start()
        callers = [asyncio.ensure_future(batcher.submit(_rows(value))) for value in (1, 2)]
        await gate.wait_entered()

        await batcher.close()  # the model is still at work

        outcomes = await asyncio.gather(*callers, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [NotServingError] * 2
        with pytest.raises(NotServingError, match="stopping"):
            await batcher.submit(_rows(3))
        gate.opened.release()

    asyncio.run(main())
