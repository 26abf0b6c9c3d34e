"""Unusual settings, few CPUs, an idle server: the log reports them, and answers are correct."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from tests.reliability.callers import Caller, all_go_on, at_work
from tests.reliability.servers import cpu_ticks, pinned_to

if TYPE_CHECKING:
    from tests.reliability.account import Account
    from tests.reliability.conftest import Start
    from tests.reliability.pictures import Pictures
    from tests.reliability.servers import Server

_IDLE_S = 2.0
_IDLE_TICKS = 10  # a hundredth of a second each; a loop without a pause would use 200


def _ask_at_once(server: Server, pictures: Pictures, account: Account) -> None:
    """Have callers with calls of all sizes ask at the same time."""

    async def main() -> None:
        callers = [
            Caller(server.address, pictures, account, images=images)
            for images in (1, 1, 1, 2, 3, 4, 5, 7, 64, 65)
        ]
        async with at_work(*callers):
            await all_go_on(*callers, calls=10)

    asyncio.run(main())


def test_answers_are_right_with_many_threads_small_batches_and_a_delay(
    start: Start, pictures: Pictures, account: Account
) -> None:
    server = start("--instances", 2, "--threads", 2, "--max-queue-delay-s", 0.005, "--max-batch", 4)

    _ask_at_once(server, pictures, account)


def test_a_server_on_one_cpu_runs_one_thread_of_each_kind(
    start: Start, pictures: Pictures, account: Account
) -> None:
    with pinned_to(min(os.sched_getaffinity(0))):
        server = start()

    _ask_at_once(server, pictures, account)

    [event] = server.events("cpus")
    assert (event["cpus"], event["source"]) == (1, "affinity")
    assert [event[name] for name in ("workers", "instances", "threads", "decode_threads")] == [1, 1, 1, 1]
    assert not server.events("more model threads than CPUs")


def test_more_threads_than_cpus_are_obeyed_and_warned_of(
    start: Start, pictures: Pictures, account: Account
) -> None:
    with pinned_to(min(os.sched_getaffinity(0))):
        server = start("--instances", 3)

    _ask_at_once(server, pictures, account)

    assert server.events("cpus")[0]["instances"] == 3
    [warning] = server.events("more model threads than CPUs")
    assert (warning["level"], warning["threads"]) == ("warning", 3)


def test_the_log_distinguishes_workers(start: Start) -> None:
    server = start("--workers", 2)

    assert {event["pid"] for event in server.events("model ready")} == set(server.workers())


def test_an_idle_server_rests(start: Start, pictures: Pictures, account: Account) -> None:
    server = start("--workers", 2, "--max-queue-delay-s", 0.005)

    async def main() -> dict[int, int]:
        pids = (server.pid, *server.workers())
        callers = [Caller(server.address, pictures, account, images=3) for _ in range(8)]
        for caller in callers:
            await caller.ask()
        before = {pid: cpu_ticks(pid) for pid in pids}
        await asyncio.sleep(_IDLE_S)  # with eight open connections
        used = {pid: cpu_ticks(pid) - before[pid] for pid in pids}
        for caller in callers:
            await caller.close()
        return used

    used = asyncio.run(main())

    assert len(used) == 3
    assert max(used.values()) <= _IDLE_TICKS
