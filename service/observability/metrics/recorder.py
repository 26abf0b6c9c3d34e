"""The observer that counts everything one process does, and makes snapshots of the counts.

Plain numbers without locks, since all of it happens in the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.observability.metrics import table
from service.observability.metrics.counts import MethodCounts, ModelCounts
from service.observability.metrics.process_metrics import own_process
from service.observability.metrics.snapshot import NO_MODEL, MetricValues, Snapshot, nanoseconds, retired
from service.observability.observers import Observer
from service.observability.timing import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from service.observability.metrics.snapshot import Tree, Version
    from service.observability.observers import ModelEvent, ObservedCall, Request
    from service.observability.timing import ModelRun
    from service.runtime.model import ModelInfo

_MAX_REFUSALS = 100
"""Distinct refusals that are counted apart; there are about thirty."""
_OTHER = ("other", "other")
_OTHER_MODEL = "other"
_MAX_MODEL_EVENTS = 1_000
"""Distinct pairs of model name and event; folders may come and go for years."""
_CHECK_EVERY_S = 1.0


@dataclass(frozen=True, kw_only=True)
class BuildInfo:
    """Versions of the server, of Python and of ONNX Runtime."""

    version: str
    python: str
    onnxruntime: str


@dataclass(frozen=True, kw_only=True)
class ProcessState:
    """Values of the gauges of a process."""

    admitted_images: int = 0
    connections: int = 0
    active_calls: int = 0
    active_streams: int = 0
    held_bytes: int = 0
    loaded: Sequence[tuple[ModelInfo, int]] = ()
    """The loaded versions, each with its number of waiting images."""


class Recorder(Observer):
    """One a process; to be used within its event loop."""

    def __init__(self, build: BuildInfo) -> None:
        self._build = build
        self._state: Callable[[], ProcessState] = ProcessState
        self._methods: defaultdict[str, MethodCounts] = defaultdict(MethodCounts)
        self._models: dict[Version, ModelCounts] = {}
        self._last: tuple[ModelInfo | None, ModelCounts] | None = None
        """The version counted last, which is usually the next one, too."""
        self._refusals: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._model_events: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._has_changed = True
        """Whether anything was counted since the last snapshot."""

    def watch(self, state: Callable[[], ProcessState], methods: Iterable[str]) -> None:
        """Report the gauges of a server, and its methods before they are called.

        Args:
            state: returns the gauges, whenever a snapshot is made.
            methods: paths of the methods, which are reported with zeros until they are called.
        """
        self._state = state
        self._methods.update((path, MethodCounts()) for path in methods)

    def on_call(self, call: ObservedCall) -> None:
        """Count a call."""
        self._methods[call.path].count(call.code, clock() - call.began_s)
        self._has_changed = True

    def on_refusal(self, event: str, reason: str) -> None:
        """Count a refusal."""
        kind = (event, reason)
        if kind not in self._refusals and len(self._refusals) >= _MAX_REFUSALS:
            kind = _OTHER
        self._refusals[kind] += 1
        self._has_changed = True

    def on_request(self, request: Request) -> None:
        """Count a request."""
        self._counts_of(request.model).count(request)
        self._has_changed = True

    def on_run(self, model: ModelInfo, run: ModelRun) -> None:
        """Count a run of a model."""
        self._counts_of(model).count_run(run)
        self._has_changed = True

    def on_model(self, name: str, version: int, event: ModelEvent) -> None:  # noqa: ARG002 - as every observer
        """Count an event in the life of a model version."""
        kind: tuple[str, str] = (name, event)
        if kind not in self._model_events and len(self._model_events) >= _MAX_MODEL_EVENTS:
            kind = (_OTHER_MODEL, event)
        self._model_events[kind] += 1
        self._has_changed = True

    async def answer(self, _: None = None) -> list[Any]:
        """Return a snapshot as JSON."""
        return (await self.collect()).to_json()

    async def answer_when_changed(self, _: None = None) -> list[Any]:
        """Return a snapshot as JSON, as soon as something has been counted since the last one."""
        while not self._has_changed:  # noqa: ASYNC110 - setting an Event in each call would cost more
            await asyncio.sleep(_CHECK_EVERY_S)
        return await self.answer()

    async def collect(self) -> Snapshot:
        """Return all metrics of this process."""
        self._has_changed = False
        state = self._state()
        for info, _ in state.loaded:
            self._counts_of(info)  # reported with zeros until it is asked
        snapshot = own_process()
        snapshot.add(Snapshot(self._cumulative(), self._current(state)))
        return snapshot

    def _cumulative(self) -> MetricValues:
        server: dict[str, Tree] = {
            table.CALLS.name: {path[1:]: method.codes() for path, method in self._methods.items()},
            table.CALL_DURATION.name: {path[1:]: method.duration() for path, method in self._methods.items()},
            table.REFUSALS.name: _nested(self._refusals),
            table.MODEL_EVENTS.name: _nested(self._model_events),
            table.WORKER_RESTARTS.name: 0,
        }
        offset_ns = time.time_ns() - nanoseconds(clock())
        models = {version: counts.values(offset_ns) for version, counts in self._models.items()}
        return MetricValues(server, models)

    def _current(self, state: ProcessState) -> MetricValues:
        build = self._build
        server: dict[str, Tree] = {
            table.ADMITTED_IMAGES.name: state.admitted_images,
            table.CONNECTIONS.name: state.connections,
            table.ACTIVE_CALLS.name: state.active_calls,
            table.ACTIVE_STREAMS.name: state.active_streams,
            table.HELD_BYTES.name: state.held_bytes,
            table.BUILD.name: {build.version: {build.python: {build.onnxruntime: 1}}},
            table.WORKERS.name: 1,
        }
        models: dict[Version, dict[str, Tree]] = {
            _version(info): {
                table.MODEL.name: {info.provider: 1},
                table.WAITING_IMAGES.name: waiting_images,
            }
            for info, waiting_images in state.loaded
        }
        return MetricValues(server, models)

    def _counts_of(self, info: ModelInfo | None) -> ModelCounts:
        last = self._last
        if last is not None and last[0] is info:
            return last[1]
        version = NO_MODEL if info is None else _version(info)
        counts = self._models.get(version)
        if counts is None:
            self._drop_retired()
            counts = self._models[version] = ModelCounts()
        self._last = info, counts
        return counts

    def _drop_retired(self) -> None:
        for version in retired(self._models, [_version(info) for info, _ in self._state().loaded]):
            del self._models[version]


def _nested(counts: dict[tuple[str, str], int]) -> dict[str, Tree]:
    tree: dict[str, dict[str, Tree]] = {}
    for (first, second), count in counts.items():
        tree.setdefault(first, {})[second] = count
    return {**tree}


def _version(info: ModelInfo) -> Version:
    return info.name, str(info.version)
