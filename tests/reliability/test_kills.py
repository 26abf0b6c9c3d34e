"""Killed processes: their clients retry, nobody else notices, and none is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.reliability.callers import Caller, PatientCaller, Status, ThreadCaller, all_go_on, at_work, until
from tests.reliability.servers import is_free, is_over, sockets

if TYPE_CHECKING:
    from tests.reliability.account import Account
    from tests.reliability.conftest import Start
    from tests.reliability.pictures import Pictures
    from tests.reliability.servers import Server

_ROUNDS = 2
_MOST_ROUNDS = 12  # until a kill has hit a call that was under way


async def _worker_of(caller: Caller, server: Server) -> int:
    """Connect a caller and find the worker that got its connection; nobody else may connect meanwhile."""
    before = {pid: sockets(pid) for pid in server.workers()}
    assert await caller.ask() is Status.OK
    [worker] = [pid for pid, had in before.items() if sockets(pid) - had]
    return worker


async def _kill(worker: int, server: Server) -> None:
    """Kill a worker and wait until another is ready."""
    ready = len(server.events("worker ready"))
    os.kill(worker, signal.SIGKILL)
    await until(lambda: len(server.events("worker ready")) == ready + 1, "another worker")


@pytest.mark.slow
def test_only_callers_of_a_killed_worker_notice_and_those_that_retry_do_not(
    start: Start, pictures: Pictures, account: Account
) -> None:
    server = start("--workers", "2")

    async def kill_one(which: int) -> int:
        callers = [
            Caller(server.address, pictures, account, images=images, may_see={Status.UNAVAILABLE})
            for images in (1, 1, 8, 8, 64, 64)
        ]
        workers = [await _worker_of(caller, server) for caller in callers]
        assert set(workers) == set(server.workers())  # both serve
        killed = server.workers()[which]
        victims = [caller for caller, worker in zip(callers, workers, strict=True) if worker == killed]
        others = [caller for caller in callers if caller not in victims]
        patient = [PatientCaller(server.address, pictures, account, images=n) for n in (1, 8, 64, 1)]

        async with at_work(*callers, *patient):
            await all_go_on(*callers, *patient)
            await _kill(killed, server)
            await all_go_on(*callers, *patient)

        assert all(set(caller.seen) == {Status.OK} for caller in others)
        assert len(others) == len(victims) == 3
        return sum(caller.seen[Status.UNAVAILABLE] for caller in victims)

    rounds = noticed = 0
    while rounds < _ROUNDS or (rounds < _MOST_ROUNDS and not noticed):
        noticed += asyncio.run(kill_one(rounds % 2))
        rounds += 1

    assert noticed > 0
    assert server.stop() == 0
    assert len(server.all_workers()) == 2 + rounds


def test_blocking_clients_notice_no_killed_worker(start: Start, pictures: Pictures, account: Account) -> None:
    server = start("--workers", "2")

    async def main() -> None:
        over = asyncio.Event()
        callers = [ThreadCaller(server.address, pictures, account) for _ in range(4)]
        async with asyncio.TaskGroup() as tasks:
            for caller in callers:
                tasks.create_task(asyncio.to_thread(caller.ask_until, over))
            try:
                await all_go_on(*callers)
                await _kill(server.workers()[0], server)
                await all_go_on(*callers)
            finally:
                over.set()

    asyncio.run(main())


def test_workers_of_a_killed_supervisor_end_by_themselves_and_lose_no_call(
    start: Start, pictures: Pictures, account: Account
) -> None:
    server = start("--workers", "2")
    port, workers = server.port, server.workers()

    async def main() -> None:
        callers = [
            Caller(server.address, pictures, account, images=8, may_see={Status.UNAVAILABLE})
            for _ in range(6)
        ]
        patient = [PatientCaller(server.address, pictures, account, is_stubborn=True) for _ in range(2)]
        async with at_work(*callers, *patient):
            await all_go_on(*callers, *patient)
            os.kill(server.pid, signal.SIGKILL)
            await until(lambda: all(map(is_over, workers)), "both workers' end")
            await until(lambda: is_free(port), "a free port")
            await asyncio.to_thread(start, port=port)
            await all_go_on(*callers, *patient)

    asyncio.run(main())

    assert server.wait() == -signal.SIGKILL
