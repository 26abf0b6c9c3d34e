"""The metrics of workers are summed up, and no counter ever steps back."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

from service.observability.metrics.exposition import Exposition
from service.observability.metrics.snapshot import CHANGED_METRICS_TOPIC, METRICS_TOPIC
from service.observability.timing import ModelRun
from service.workers import metrics_aggregator as aggregator_module
from service.workers.control_client import ControlClient
from service.workers.control_hub import ControlHub
from service.workers.metrics_aggregator import MetricsAggregator
from tests.service.in_process import until
from tests.service.observability.metrics.scraper import Samples, samples_of, value
from tests.service.observability.metrics.work import Call, model, recorder, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from service.observability.metrics.recorder import Recorder


class _Workers:
    """Workers in this process, each at the end of a real connection."""

    def __init__(self) -> None:
        self.hub = ControlHub()
        self.aggregator = MetricsAggregator(self.hub)
        self._control_clients: dict[int, ControlClient] = {}

    async def start(self, number: int, counting: Recorder | None = None, **handlers: Any) -> Recorder:
        counting = counting or recorder(model())
        with self.hub.add(number) as end:
            control = self._control_clients[number] = ControlClient(os.dup(end.fileno()))
        control.handle(METRICS_TOPIC, handlers.get("metrics", counting.answer))
        control.handle(CHANGED_METRICS_TOPIC, handlers.get("news", counting.answer_when_changed))
        await control.join()
        self.aggregator.add(number)
        return counting

    async def kill(self, number: int) -> None:
        await self._control_clients.pop(number).close()
        self.aggregator.remove(number)
        self.hub.remove(number)

    async def told(self) -> Samples:
        return samples_of("".join(Exposition("").write(await self.aggregator.collect())))


@contextlib.asynccontextmanager
async def _running_workers() -> AsyncIterator[_Workers]:
    workers = _Workers()
    async with asyncio.timeout(60):
        yield workers
    for number in list(workers._control_clients):
        await workers.kill(number)
    workers.aggregator.close()
    workers.hub.close()


async def _hang(_: Any = None) -> None:
    await asyncio.Event().wait()


def test_workers_are_summed_up_and_the_counts_of_one_that_died_are_kept() -> None:
    async def scenario() -> None:
        async with _running_workers() as workers:
            for number in range(2):
                counting = await workers.start(number)
                for _ in range(number + 1):
                    counting.on_call(Call())
                    counting.on_request(request(model(), ModelRun(1, 106.0, 106.1)))
            both = await workers.told()
            await workers.kill(1)
            one = await workers.told()
            await workers.start(2)
            workers.aggregator.restarts += 1
            replaced = await workers.told()

        for told, number in ((both, 2), (one, 1), (replaced, 2)):
            assert value(told, "calls_total") == 3
            assert value(told, "compute_seconds_count", version="1") == 3
            assert value(told, "workers") == number
            assert value(told, "connections") == 2 * number  # a gauge ends with its process
        assert value(replaced, "worker_restarts_total") == 1
        sums = [value(told, "compute_seconds_sum") for told in (both, one, replaced)]
        assert sums[0] == sums[1] == sums[2]

    asyncio.run(scenario())


def test_the_counts_of_workers_are_fetched_regularly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregator_module, "_EVERY_S", 0.01)
    monkeypatch.setattr("service.observability.metrics.recorder._CHECK_EVERY_S", 0.01)

    async def scenario() -> Samples:
        async with _running_workers() as workers:
            counting = await workers.start(0)
            for _ in range(2):  # news, twice
                counting.on_call(Call())
                await until(lambda: not counting._has_changed)
            await until(lambda: _calls(workers) == 2)
            await workers.kill(0)
            return await workers.told()

    assert value(asyncio.run(scenario()), "calls_total") == 2


def _calls(workers: _Workers) -> Any:
    [worker] = workers.aggregator._workers.values()
    calls: Any = worker.snapshot.cumulative.server.get("calls_total", {})
    return sum(count for codes in calls.values() for count in codes.values())


def test_a_hung_worker_is_reported_with_its_last_counts_and_asked_only_once() -> None:
    asked = 0

    async def scenario() -> None:
        nonlocal asked
        async with _running_workers() as workers:
            hanging = recorder(model())
            hanging.on_call(Call())
            is_hanging = asyncio.Event()

            async def answer(_: Any) -> Any:
                nonlocal asked
                if is_hanging.is_set():
                    asked += 1
                    await _hang()
                return await hanging.answer()

            await workers.start(0, metrics=answer, news=_hang)
            other = await workers.start(1)
            assert value(await workers.told(), "calls_total") == 1
            is_hanging.set()
            for calls in (2, 3, 4):
                other.on_call(Call())
                assert value(await workers.told(), "calls_total") == calls

    asyncio.run(scenario())
    assert asked == 1


def test_a_worker_that_is_starting_does_not_delay_the_counts_of_others() -> None:
    async def scenario() -> Samples:
        async with _running_workers() as workers:
            workers.hub.add(7).close()
            with workers.hub.add(8):  # nobody has joined at its other end yet
                workers.aggregator.add(7)
                workers.aggregator.add(8)
                counting = await workers.start(0)
                counting.on_call(Call())
                return await workers.told()

    assert value(asyncio.run(scenario()), "calls_total") == 1


def test_each_of_many_concurrent_scrapes_has_what_was_counted_before_it() -> None:
    """One that joined a question asked earlier would miss what was answered since."""

    async def scenario() -> tuple[list[float], int]:
        asked = 0
        may_go_on = asyncio.Event()
        counting = recorder(model())

        async def answer(_: Any) -> Any:
            nonlocal asked
            asked += 1
            snapshot = await counting.answer()
            await may_go_on.wait()  # on its way
            return snapshot

        async with _running_workers() as workers:
            await workers.start(0, counting, metrics=answer, news=_hang)
            first = asyncio.create_task(workers.told())
            await until(lambda: asked)
            counting.on_call(Call())
            others = [asyncio.create_task(workers.told()) for _ in range(9)]
            await asyncio.sleep(0)
            may_go_on.set()
            return [value(await told, "calls_total") for told in (first, *others)], asked

    calls, asked = asyncio.run(scenario())
    assert calls[0] in {0, 1}
    assert calls[1:] == [1] * 9
    assert asked == 2


def test_versions_that_a_worker_drops_are_kept_until_there_are_many_newer_ones() -> None:
    async def scenario() -> list[Samples]:
        stages = []
        async with _running_workers() as workers:
            one, other = await workers.start(0), await workers.start(1)
            for counting in (one, other):
                counting.on_request(request(model(2)))
            stages.append(await workers.told())
            for version in range(3, 100):
                one.on_request(request(model(version)))
            stages.append(await workers.told())
            for version in range(3, 100):
                other.on_request(request(model(version)))
                if version % 20 == 0:
                    await workers.told()
            stages.append(await workers.told())
            await workers.kill(0)
            stages.append(await workers.told())
        return stages

    stages = asyncio.run(scenario())
    assert [value(told, "requests_total", version="2") for told in stages] == [2, 2, 0, 0]
    assert [value(told, "requests_total", version="99") for told in stages] == [0, 1, 2, 2]
    for told in stages:
        versions = {dict(labels)["version"] for name, labels in told if name == "cifar10net_requests_total"}
        assert "1" in versions  # it is loaded
        assert len(versions) < 100
