"""Sums up the metrics of a server's workers, including those that have ended.

Each worker sends its snapshot about once a second if something has changed, and whenever metrics are asked
for. The last snapshot of a worker that ends is kept, so that no counter ever steps back; one that is killed
loses only what it counted since.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from service.observability.metrics.process_metrics import own_process
from service.observability.metrics.snapshot import (
    CHANGED_METRICS_TOPIC,
    METRICS_TOPIC,
    MetricValues,
    Snapshot,
    retired,
)
from service.observability.metrics.table import WORKER_RESTARTS
from service.workers.ipc import IpcError

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.workers.control_hub import ControlHub
    from service.workers.ipc import Json

_EVERY_S = 1.0
_TIMEOUT_S = 0.3
"""After which the last snapshot of a worker that does not answer is used again."""


class MetricsAggregator:
    """One a supervisor; to be used within its event loop."""

    def __init__(self, hub: ControlHub) -> None:
        """Create one without workers, which will be asked through ``hub``."""
        self._hub = hub
        self._workers: dict[int, _WorkerMetrics] = {}
        self._ended = MetricValues()
        """Counts of workers that have ended, and of model versions that workers have forgotten."""
        self.restarts = 0
        """How many workers were started to replace others."""

    def add(self, worker: int) -> None:
        """Include a new worker; ``worker`` is its key in the hub."""
        self._workers[worker] = _WorkerMetrics(worker, self._hub, self._keep)

    def remove(self, worker: int) -> None:
        """Keep the last counts of a worker that has ended."""
        ended = self._workers.pop(worker)
        ended.close()
        self._keep(ended.snapshot.cumulative)

    async def collect(self) -> Snapshot:
        """Ask all workers and return the sum, with the last snapshot of those that do not answer in time."""
        await asyncio.gather(*(worker.refresh(_TIMEOUT_S) for worker in self._workers.values()))
        total = own_process()
        total.cumulative.server[WORKER_RESTARTS.name] = self.restarts
        total.cumulative.add(self._ended)
        for worker in self._workers.values():
            total.add(worker.snapshot)
        return total

    async def answer(self, _: Json) -> Json:
        """Answer a worker that asks for the metrics of the whole server."""
        return (await self.collect()).to_json()

    def close(self) -> None:
        """Stop asking."""
        for worker in self._workers.values():
            worker.close()

    def _keep(self, cumulative: MetricValues) -> None:
        self._ended.add(cumulative)
        in_use = [
            version for worker in self._workers.values() for version in worker.snapshot.cumulative.models
        ]
        for version in retired(self._ended.models, in_use):
            del self._ended.models[version]


class _WorkerMetrics:
    """The last snapshot of one worker."""

    def __init__(self, key: int, hub: ControlHub, keep: Callable[[MetricValues], None]) -> None:
        self._key = key
        self._hub = hub
        self._keep = keep
        """Called with counts that later snapshots no longer have."""
        self.snapshot = Snapshot()
        self._asking: asyncio.Task[None] | None = None
        """The question under way, if any; a worker that hangs is not asked again and again."""
        self._watching = asyncio.get_running_loop().create_task(self._watch(), name="metrics aggregator")

    async def refresh(self, timeout_s: float) -> None:
        """Get a new snapshot, unless that takes too long, as in a worker that is still starting."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                if self._asking is not None:  # asked earlier: its answer may lack the latest counts
                    await asyncio.wait([self._asking])
                if self._asking is None:
                    self._asking = asyncio.get_running_loop().create_task(self._ask_now())
                await asyncio.wait([self._asking])

    def close(self) -> None:
        """Stop asking."""
        self._watching.cancel()
        if self._asking is not None:
            self._asking.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            await self._ask(CHANGED_METRICS_TOPIC)

    async def _ask_now(self) -> None:
        try:
            await self._ask(METRICS_TOPIC)
        finally:
            self._asking = None

    async def _ask(self, topic: str) -> None:
        with contextlib.suppress(IpcError):  # it has ended, or is about to
            self._take(Snapshot.from_json(await self._hub.ask(self._key, topic, None, None)))

    def _take(self, snapshot: Snapshot) -> None:
        before, self.snapshot = self.snapshot.cumulative.models, snapshot
        forgotten = before.keys() - snapshot.cumulative.models.keys()
        if forgotten:
            self._keep(MetricValues(models={version: before[version] for version in forgotten}))
