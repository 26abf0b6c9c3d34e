"""Metrics while workers die: no counter steps back, and only counts not yet reported are lost.

What may be lost is what a killed worker counted after it told the supervisor last, which is at every scrape
and else once a second; of workers that live, nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.reliability.callers import Caller, Status, all_go_on, at_work, until
from tests.reliability.servers import files
from tests.reliability.test_kills import _kill, _worker_of
from tests.service.observability.metrics.scraper import Samples, scrape, value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.reliability.account import Account
    from tests.reliability.conftest import Start
    from tests.reliability.pictures import Pictures
    from tests.reliability.servers import Server

_ROUNDS = 2
_MOST_ROUNDS = 12  # until a kill has hit a call that was under way
_COUNTERS = ("_total", "_bucket", "_count", "_sum")
_CLASSIFY = {"method": "cifar10net.v1.Classifier/Classify"}
_SCRAPERS = 6
_HALF_OPEN = 40


class _Scraper:
    """Scrapes a server again and again, and sees that no counter steps back or goes missing."""

    def __init__(self, server: Server) -> None:
        [event] = server.events("metrics")
        self.url: str = event["url"]
        self.scrapes = 0
        self._last: Samples = {}
        self._turn = asyncio.Lock()

    async def once(self) -> Samples:
        async with self._turn:  # of two at a time, nobody knows which came first
            return await self._once()

    async def _once(self) -> Samples:
        found = await asyncio.to_thread(scrape, self.url)
        back = {
            key: (before, found.get(key))
            for key, before in self._last.items()
            if key[0].endswith(_COUNTERS) and not before <= found.get(key, -1)
        }
        assert back == {}
        self._last = found
        self.scrapes += 1
        return found

    @contextlib.asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Scrape every 50 ms within the block."""
        over = asyncio.Event()

        async def go_on() -> None:
            while not over.is_set():
                await self.once()
                await asyncio.sleep(0.05)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(go_on())
            try:
                yield
            finally:
                over.set()


def _ok(samples: Samples) -> float:
    return value(samples, "calls_total", code="OK", **_CLASSIFY)


def _caller(server: Server, pictures: Pictures, account: Account, images: int) -> Caller:
    return Caller(server.address, pictures, account, images=images, may_see={Status.UNAVAILABLE})


@pytest.mark.slow
def test_no_counter_steps_back_while_workers_are_killed_and_replaced(
    start: Start, pictures: Pictures, account: Account
) -> None:
    server = start("--workers", "2", "--instances", "1", "--metrics-port", "0")
    scraper = _Scraper(server)

    async def kill_one(which: int) -> int:
        """Kill a worker under load. Returns how many of its answers may not have been counted."""
        callers = [_caller(server, pictures, account, images) for images in (1, 1, 8, 8)]
        workers = [await _worker_of(caller, server) for caller in callers]
        killed = server.workers()[which]
        victims = [caller for caller, worker in zip(callers, workers, strict=True) if worker == killed]
        async with at_work(*callers), scraper.going_on():
            await all_go_on(*callers)
            told = sum(caller.answers for caller in victims)
            await scraper.once()
            loss = asyncio.create_task(_kill(killed, server))
            await until(lambda: killed not in server.workers(), "the worker's end")
            untold = sum(caller.answers for caller in victims) - told
            await loss
            await all_go_on(*callers)
        return untold

    async def main() -> None:
        rounds = untold = 0
        while rounds < _ROUNDS or (rounds < _MOST_ROUNDS and not account.statuses["UNAVAILABLE"]):
            untold += await kill_one(rounds % 2)
            rounds += 1
        after_kills = await scraper.once()
        assert account.answered - untold <= _ok(after_kills) <= account.tried
        assert value(after_kills, "worker_restarts_total") == rounds
        assert value(after_kills, "workers") == 2

        answered = account.answered
        callers = [_caller(server, pictures, account, images=5) for _ in range(4)]
        async with at_work(*callers), scraper.going_on():
            await all_go_on(*callers, calls=20)
        told = await scraper.once()
        for name, labels in (
            ("calls_total", {"code": "OK", **_CLASSIFY}),
            ("requests_total", {"outcome": "ok"}),
            ("queue_seconds_count", {}),
            ("compute_seconds_count", {}),
        ):
            new = value(told, name, **labels) - value(after_kills, name, **labels)
            assert new == account.answered - answered, name
        images = {"outcome": "ok"}
        new_images = value(told, "images_total", **images) - value(after_kills, "images_total", **images)
        assert new_images == 5 * (account.answered - answered)

    asyncio.run(main())

    assert scraper.scrapes > 2 * _ROUNDS + 2  # more than were asked for one by one
    assert account.statuses["UNAVAILABLE"] > 0
    assert server.stop() == 0


@pytest.mark.slow
def test_many_scrapers_junk_and_half_open_connections_harm_nobody(
    start: Start, pictures: Pictures, account: Account
) -> None:
    server = start("--workers", "2", "--instances", "1", "--metrics-port", "0")
    before = files(server.pid)

    async def main() -> None:
        callers = [Caller(server.address, pictures, account, images=8) for _ in range(4)]
        scrapers = [_Scraper(server) for _ in range(_SCRAPERS)]
        address = urlsplit(scrapers[0].url)
        assert address.hostname is not None
        assert address.port is not None
        with contextlib.ExitStack() as stack:
            for number in range(_HALF_OPEN):
                half_open = stack.enter_context(
                    socket.create_connection((address.hostname, address.port), 60)
                )
                half_open.sendall(b"GET /metrics HTTP/1.1\r\nHost: x"[:number])
            async with at_work(*callers, rest_s=0.005), asyncio.TaskGroup() as tasks:
                for seed in range(4):
                    tasks.create_task(asyncio.to_thread(_send_junk, address.hostname, address.port, seed))
                for scraper in scrapers:
                    tasks.create_task(_scrape_often(scraper, 10))
                await all_go_on(*callers, calls=20)
        told = await scrapers[0].once()
        assert _ok(told) == account.answered

    asyncio.run(main())

    asyncio.run(until(lambda: files(server.pid) <= before, "the end of every connection"))
    assert server.stop() == 0
    assert not server.events("scrape failed")


async def _scrape_often(scraper: _Scraper, times: int) -> None:
    for _ in range(times):
        await scraper.once()


def _send_junk(host: str, port: int, seed: int) -> None:
    random = Random(seed)  # noqa: S311 - the same in every run
    for _ in range(25):
        with socket.create_connection((host, port), 60) as junk, contextlib.suppress(OSError):
            junk.sendall(random.randbytes(random.randrange(40_000)) + b"\r\n\r\n")
            while junk.recv(4_096):
                pass


def test_a_frozen_worker_is_reported_with_its_last_counts(
    start: Start, pictures: Pictures, account: Account
) -> None:
    server = start("--workers", "2", "--instances", "1", "--metrics-port", "0")
    scraper = _Scraper(server)

    async def main() -> None:
        callers = [Caller(server.address, pictures, account) for _ in range(2)]
        frozen, other = [await _worker_of(caller, server) for caller in callers]
        assert frozen != other
        assert _ok(await scraper.once()) == 2
        os.kill(frozen, signal.SIGSTOP)
        try:
            for answered in (3, 4, 5):
                await callers[1].ask()
                assert _ok(await scraper.once()) == answered
        finally:
            os.kill(frozen, signal.SIGCONT)
        await callers[0].ask()
        assert _ok(await scraper.once()) == 6
        for caller in callers:
            await caller.close()

    asyncio.run(main())

    assert server.stop() == 0
