"""Clients that ask about the same photographs again and again, and compare every answer with the first."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from cifar10net import AsyncClient, Client
from cifar10net.config import ClientConfig
from cifar10net.errors import ClientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

LIMIT_S = 60.0
PHOTOGRAPHS = sorted((Path(__file__).parents[2] / "examples" / "images").glob("*.*g"))
Answer = list[tuple[str, float]]


def answers(address: str, config: ClientConfig | None = None) -> Answer:
    """Ask once: the best class of each photograph, and its probability."""
    with Client(address, config) as client:
        return [(each.best.label, round(each.best.probability, 4)) for each in client.classify(PHOTOGRAPHS)]


class Caller:
    """Calls as our clients do by default, with retries."""

    def __init__(self, address: str, expected: Answer, *, repeats: int = 1, attempts: int = 4) -> None:
        """Prepare to ask.

        Args:
            address: of a server or balancer.
            expected: what it has to answer.
            repeats: of the photographs in each call.
            attempts: of a call; 1 sees every status as it came.
        """
        self.answered = 0
        self.losses: list[str] = []
        self.refused: list[tuple[float, str]] = []
        """Calls that were not answered: when they began, by the loop's clock, and why."""
        self._client = AsyncClient(address, ClientConfig(max_attempts=attempts))
        self._photographs = PHOTOGRAPHS * repeats
        self._expected = expected * repeats

    async def ask(self) -> None:
        """Ask once."""
        began = asyncio.get_running_loop().time()
        try:
            results = await self._client.classify(self._photographs)
        except ClientError as error:
            self.refused.append((began, str(error)))
            await asyncio.sleep(0.02)
            return
        found = [(each.best.label, round(each.best.probability, 4)) for each in results]
        if all(a == b and abs(p - q) < 1e-3 for (a, p), (b, q) in zip(found, self._expected, strict=True)):
            self.answered += 1
        else:
            self.losses.append(f"{found} in place of {self._expected}")

    async def ask_until(self, over: asyncio.Event) -> None:
        """Ask until it is over, then close the connection."""
        while not over.is_set():
            await self.ask()
        await self._client.close()


@contextlib.asynccontextmanager
async def at_work(callers: list[Caller]) -> AsyncIterator[None]:
    """Have callers ask all the time within the block."""
    over = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for caller in callers:
            tasks.create_task(caller.ask_until(over))
        try:
            yield
        finally:
            over.set()


async def all_go_on(callers: list[Caller], calls: int = 3) -> None:
    """Wait until each has been answered some calls more."""
    before = [caller.answered for caller in callers]
    await until(
        lambda: all(caller.answered >= n + calls for caller, n in zip(callers, before, strict=True)),
        "answers to all callers",
    )


async def until(is_so: Callable[[], object], what: str) -> None:
    """Wait for a condition."""
    try:
        async with asyncio.timeout(LIMIT_S):
            while not await asyncio.to_thread(is_so):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"never came: {what}") from None
