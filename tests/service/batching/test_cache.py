"""Cached rows are returned bit for bit, and the cache is bounded."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batching.batcher import Batcher
from service.batching.cache import CachedBatcher, ResponseCache
from service.errors import DeadlineError, NotServingError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

ENTRY = 288
"""Bytes per entry beside its row."""


class _Model:
    """Answers n / 3 to an image n, a number that no decimal writes; remembers what it ran."""

    def __init__(self) -> None:
        self.ran: list[int] = []

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.ran += images[:, 0].tolist()
        return np.concatenate([images / 3, images / 7], axis=1).astype(np.float32)


def _rows(*values: int) -> np.ndarray:
    return np.array(values, np.uint8).reshape(-1, 1)


def _with(
    model: Callable[[np.ndarray], np.ndarray], act: Callable[[Batcher], Coroutine[None, None, None]]
) -> None:
    async def main() -> None:
        batcher = Batcher([model], 8)
        batcher.start()
        await act(batcher)
        await batcher.close()

    asyncio.run(main())


def test_only_unknown_images_are_run_and_rows_stay_in_order() -> None:
    model = _Model()

    async def act(batcher: Batcher) -> None:
        cached = CachedBatcher(batcher, ResponseCache(10_000), "model", 1)
        first = await cached.submit(_rows(2, 4))
        mixed = await cached.submit(_rows(1, 2, 3, 4, 2))
        known = await cached.submit(_rows(3, 1))

        expected = _Model()
        for answer, values in ((first, (2, 4)), (mixed, (1, 2, 3, 4, 2)), (known, (3, 1))):
            assert answer.dtype == np.float32
            assert answer.tobytes() == expected(_rows(*values)).tobytes()
            assert answer.shape == (len(values), 2)
        assert answer.flags.writeable  # as the batcher's own

    _with(model, act)

    assert model.ran == [2, 4, 1, 3]


@pytest.mark.parametrize(
    ("name", "version", "content"),
    [("other", 11, "a"), ("model", 12, "a"), ("model1", 1, "a"), ("model", 11, "b")],
)
def test_models_never_share_an_answer(name: str, version: int, content: str) -> None:
    model = _Model()

    async def act(batcher: Batcher) -> None:
        cache = ResponseCache(10_000)
        await CachedBatcher(batcher, cache, "model", 11, "a").submit(_rows(5))
        await CachedBatcher(batcher, cache, name, version, content).submit(_rows(5))

    _with(model, act)

    assert model.ran == [5, 5]


def test_a_failure_is_returned_and_never_cached() -> None:
    model = _Model()
    failures = [RuntimeError("out of luck")]

    def luckless(images: np.ndarray) -> np.ndarray:
        if failures:
            raise failures.pop()
        return model(images)

    async def act(batcher: Batcher) -> None:
        cache = ResponseCache(10_000)
        cached = CachedBatcher(batcher, cache, "model", 1)
        with pytest.raises(RuntimeError, match="out of luck"):
            await cached.submit(_rows(1))
        assert cache.used_bytes == 0
        assert (await cached.submit(_rows(1))).shape == (1, 2)

    _with(luckless, act)

    assert model.ran == [1]


def test_cancelling_withdraws_the_images_that_wait() -> None:
    gate = threading.Event()
    model = _Model()

    def gated(images: np.ndarray) -> np.ndarray:
        assert gate.wait(60)
        return model(images)

    async def act(batcher: Batcher) -> None:
        cached = CachedBatcher(batcher, ResponseCache(10_000), "model", 1)
        busy = cached.submit(_rows(1))
        await asyncio.sleep(0)  # the model is at work
        leaving = cached.submit(_rows(2, 3))
        assert batcher.waiting_images == 2

        leaving.cancel()
        for _ in range(2):  # one turn to tell the batcher's future, one for the batcher
            await asyncio.sleep(0)

        assert batcher.waiting_images == 0
        gate.set()
        await busy

    _with(gated, act)

    assert model.ran == [1]


def test_a_deadline_and_a_closed_batcher_are_the_batchers_business() -> None:
    model = _Model()

    async def act(batcher: Batcher) -> None:
        cached = CachedBatcher(batcher, ResponseCache(10_000), "model", 1)
        await cached.submit(_rows(1))
        await batcher.close()
        past_s = asyncio.get_running_loop().time() - 1

        assert (await cached.submit(_rows(1), deadline_s=past_s)).shape == (1, 2)  # it costs nothing
        with pytest.raises(NotServingError):
            cached.submit(_rows(2))

    _with(model, act)


def test_a_late_call_is_refused_at_once() -> None:
    async def act(batcher: Batcher) -> None:
        cached = CachedBatcher(batcher, ResponseCache(10_000), "model", 1)
        with pytest.raises(DeadlineError):
            cached.submit(_rows(1), deadline_s=asyncio.get_running_loop().time() - 1)

    _with(_Model(), act)


def test_the_least_recently_used_row_is_evicted() -> None:
    cache = ResponseCache(3 * (ENTRY + 4))
    cache.put_many([b"a", b"b", b"c"], [b"AAAA", b"BBBB", b"CCCC"])
    cache.get_many([b"a"])

    cache.put_many([b"d"], [b"DDDD"])

    assert cache.get_many([b"a", b"b", b"c", b"d"]) == [b"AAAA", None, b"CCCC", b"DDDD"]


@given(
    limit=st.integers(0, 2000),
    puts=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 600), st.binary(min_size=1, max_size=1)), max_size=40
    ),
)
def test_memory_is_never_over_the_limit_and_what_is_found_is_the_latest(
    limit: int, puts: list[tuple[int, int, bytes]]
) -> None:
    cache = ResponseCache(limit)
    latest: dict[bytes, bytes] = {}

    for number, size, fill in puts:
        key, row = bytes([number]), fill * size
        latest[key] = row
        cache.put_many([key], [row])

        found = {key: kept for key in latest if (kept := cache.get_many([key])[0]) is not None}
        assert found.items() <= latest.items()
        assert cache.used_bytes == sum(ENTRY + len(row) for row in found.values())
        assert cache.used_bytes <= limit
        if ENTRY + len(row) <= limit:
            assert found[key] == row
