"""Images count from admission to answer, and waiters get capacity in order."""

from __future__ import annotations

import asyncio

import pytest

from service.batching.admission import Admission
from service.errors import OverloadedError


def test_more_than_the_limit_is_refused_until_there_is_room() -> None:
    admission = Admission(10)

    with admission.admit(8):
        with pytest.raises(OverloadedError, match="8 images are waiting and this call has 3"):
            admission.admit(3)
        with admission.admit(2):
            assert admission.images == 10

    assert admission.images == 0


def test_waiters_go_in_order_and_leave_no_trace_when_cancelled() -> None:
    entered: list[int] = []

    async def enter(admission: Admission, n: int) -> None:
        await admission.wait_for_capacity(n)
        with admission.admit(n):
            entered.append(n)
            await asyncio.sleep(0)

    async def main() -> None:
        admission = Admission(10)
        with admission.admit(9):
            waiting = [asyncio.ensure_future(enter(admission, n)) for n in (5, 1, 10, 2)]
            await asyncio.sleep(0)
            waiting[2].cancel()
            await asyncio.sleep(0)
            assert entered == []  # 1 would fit, and 5 was first
        await asyncio.gather(*waiting, return_exceptions=True)
        assert admission.images == 0

    asyncio.run(main())
    assert entered == [5, 1, 2]


def test_small_calls_pass_a_large_message_only_so_often() -> None:
    async def main() -> int:
        admission = Admission(100)
        places = [admission.admit(1)]
        places[0].__enter__()
        large = asyncio.ensure_future(admission.wait_for_capacity(100))
        await asyncio.sleep(0)
        passed = 0
        try:
            while passed < 100_000:  # one is always there when the next one comes
                following = admission.admit(1)
                following.__enter__()
                places.pop().__exit__()
                places.append(following)
                passed += 1
        except OverloadedError:
            places.pop().__exit__()
        await asyncio.wait_for(large, 60)
        return passed

    assert asyncio.run(main()) == 1_000
