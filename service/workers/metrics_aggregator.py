"""Sums up what the workers of a server count, those that have died included.

In: the answers of workers, which tell of news once a second and of everything whenever somebody wants to
know. Out: the whole server's snapshot, of which no counter ever steps back: what a worker told last is kept
when it ends. One that is killed takes with it only what it counted since it told last. Knows nothing of
processes.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from service.observability.metrics.process_metrics import own_process
from service.observability.metrics.snapshot import METRICS_TOPIC, NEWS_TOPIC, Numbers, Snapshot, retired
from service.observability.metrics.table import WORKER_RESTARTS
from service.workers.ipc import LineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.workers.control_hub import Exchange
    from service.workers.ipc import Json

_EVERY_S = 1.0
_PATIENCE_S = 0.3
"""With a worker that does not answer, before what it told last is told again."""


class Collector:
    """Of one supervisor; to be used within its event loop."""

    def __init__(self, exchange: Exchange) -> None:
        """Begin without workers, which are asked by ``exchange``."""
        self._exchange = exchange
        self._workers: dict[int, _Worker] = {}
        self._ended = Numbers()
        """What workers have counted that have ended, and of versions that workers have forgotten."""
        self.restarts = 0
        """Workers that were started in the place of others."""

    def add(self, key: int) -> None:
        """Ask this worker too; by the key that it has at the exchange."""
        self._workers[key] = _Worker(key, self._exchange, self._keep)

    def remove(self, key: int) -> None:
        """Keep what a worker has told that has ended."""
        worker = self._workers.pop(key)
        worker.close()
        self._keep(worker.snapshot.kept)

    async def collect(self) -> Snapshot:
        """Ask the workers, and sum up; of one that does not answer soon, what it told last."""
        await asyncio.gather(*(worker.refresh(_PATIENCE_S) for worker in self._workers.values()))
        total = own_process()
        total.kept.server[WORKER_RESTARTS.name] = self.restarts
        total.kept.add(self._ended)
        for worker in self._workers.values():
            total.add(worker.snapshot)
        return total

    async def answer(self, _: Json) -> Json:
        """Answer a worker that wants to know of the whole server."""
        return (await self.collect()).as_json()

    def close(self) -> None:
        """Ask no more."""
        for worker in self._workers.values():
            worker.close()

    def _keep(self, kept: Numbers) -> None:
        self._ended.add(kept)
        in_use = [version for worker in self._workers.values() for version in worker.snapshot.kept.models]
        for version in retired(self._ended.models, in_use):
            del self._ended.models[version]


class _Worker:
    """What one of them has told."""

    def __init__(self, key: int, exchange: Exchange, keep: Callable[[Numbers], None]) -> None:
        self._key = key
        self._exchange = exchange
        self._keep = keep
        """Is told of numbers that it will not tell again."""
        self.snapshot = Snapshot()
        self._asking: asyncio.Task[None] | None = None
        """Waits for how things are; one that hangs is not asked ever more."""
        self._watching = asyncio.get_running_loop().create_task(self._watch(), name="collector")

    async def refresh(self, patience_s: float) -> None:
        """Have it tell how things are now, unless it takes too long, as one does that is starting."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                if self._asking is not None:  # asked before now: the answer may be older
                    await asyncio.wait([self._asking])
                if self._asking is None:
                    self._asking = asyncio.get_running_loop().create_task(self._ask_now())
                await asyncio.wait([self._asking])

    def close(self) -> None:
        """Ask it no more."""
        self._watching.cancel()
        if self._asking is not None:
            self._asking.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            await self._ask(NEWS_TOPIC)

    async def _ask_now(self) -> None:
        try:
            await self._ask(METRICS_TOPIC)
        finally:
            self._asking = None

    async def _ask(self, topic: str) -> None:
        with contextlib.suppress(LineError):  # it has ended, or is about to
            self._take(Snapshot.of_json(await self._exchange.ask(self._key, topic, None, None)))

    def _take(self, snapshot: Snapshot) -> None:
        before, self.snapshot = self.snapshot.kept.models, snapshot
        forgotten = before.keys() - snapshot.kept.models.keys()
        if forgotten:
            self._keep(Numbers(models={version: before[version] for version in forgotten}))
