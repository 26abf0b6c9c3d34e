"""Slow work does not hold up the loop, nor the end of the process."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from service.repository.background import in_background

HANGING = """
import asyncio, time
from service.repository.background import in_background

async def main():
    waiting = asyncio.create_task(in_background(lambda: time.sleep(600)))
    await asyncio.sleep(0)
    waiting.cancel()

asyncio.run(main())
"""


def test_the_result_or_the_error_comes_back() -> None:
    def fail() -> None:
        raise ValueError("inside")

    async def main() -> None:
        assert await in_background(lambda: 42) == 42
        with pytest.raises(ValueError, match="inside"):
            await in_background(fail)

    asyncio.run(main())


def test_work_that_hangs_does_not_hold_up_the_end() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGING], capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.returncode, done.stderr) == (0, "")
