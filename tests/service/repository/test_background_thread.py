"""Slow work delays neither the loop nor the exit of the process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from service.repository.background_thread import BackgroundThread

HANGING = """
import asyncio, threading, time
from service.repository.background_thread import BackgroundThread

async def main():
    begun = threading.Event()
    waiting = asyncio.create_task(BackgroundThread().run(lambda: (begun.set(), time.sleep(600))))
    await asyncio.to_thread(begun.wait)
    waiting.cancel()

asyncio.run(main())
"""


def test_the_result_or_the_error_comes_back() -> None:
    def fail() -> None:
        raise ValueError("inside")

    async def main() -> None:
        background = BackgroundThread()
        assert await background.run(lambda: 42) == 42
        with pytest.raises(ValueError, match="inside"):
            await background.run(fail)
        background.close()

    asyncio.run(main())


def test_one_thread_does_one_thing_after_the_other_and_ends() -> None:
    at_work: list[threading.Thread] = []

    async def main() -> None:
        background = BackgroundThread()
        work = [background.run(lambda: at_work.append(threading.current_thread())) for _ in range(3)]
        await asyncio.gather(*work)
        background.close()

    asyncio.run(main())

    [thread] = set(at_work)
    thread.join(60)
    assert not thread.is_alive()
    assert thread is not threading.current_thread()


def test_work_that_nobody_waits_for_is_done_and_its_outcome_dropped() -> None:
    async def main() -> None:
        background = BackgroundThread()
        entered, released, done = threading.Event(), threading.Event(), threading.Event()

        def work() -> None:
            entered.set()
            assert released.wait(60)
            done.set()

        waiting = asyncio.create_task(background.run(work))
        await asyncio.to_thread(entered.wait, 60)
        waiting.cancel()
        released.set()
        assert await background.run(lambda: 42) == 42
        assert done.is_set()
        background.close()

    asyncio.run(main())


def test_work_that_hangs_does_not_hold_up_the_end() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGING], capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.returncode, done.stderr) == (0, "")
