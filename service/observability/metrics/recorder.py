"""Counts what one process does, as it is told of it.

In: calls, requests and runs that are over, and how things are when somebody asks. Out: a snapshot of all of
it. Plain numbers without locks, since everything happens in the event loop. Knows nothing of other processes.
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
from service.observability.metrics.snapshot import Numbers, Snapshot, nanoseconds, retired
from service.observability.observers import Observer
from service.observability.timing import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from service.observability.metrics.snapshot import Tree, Version
    from service.observability.observers import ModelEvent, ObservedCall, Request
    from service.observability.timing import Run
    from service.runtime.model import ModelInfo

_MOST_REFUSALS = 100
"""Kinds of refusals; there are about thirty."""
_OTHER = ("other", "other")
_OTHER_MODEL = "other"
_MOST_MODEL_EVENTS = 1_000
"""Names of models, each with an event: folders may come and go for years."""
_NEWS_EVERY_S = 1.0
_UNKNOWN = ("", 0)


@dataclass(frozen=True, kw_only=True)
class Build:
    """What a server is made of."""

    version: str
    python: str
    onnxruntime: str


@dataclass(frozen=True, kw_only=True)
class State:
    """How things are in a process."""

    admitted_images: int = 0
    connections: int = 0
    active_calls: int = 0
    active_streams: int = 0
    held_bytes: int = 0
    loaded: Sequence[tuple[ModelInfo, int]] = ()
    """The versions that answer, and how many images wait for each."""


class Recorder(Observer):
    """Of one process; to be used within its event loop."""

    def __init__(self, build: Build) -> None:
        """Begin with nothing; ``build`` is told as it is."""
        self._build = build
        self._state: Callable[[], State] = State
        self._methods: defaultdict[str, MethodCounts] = defaultdict(MethodCounts)
        self._models: dict[tuple[str, int], ModelCounts] = {}
        self._last: tuple[ModelInfo | None, ModelCounts] | None = None
        """The version told of last, which is mostly the next one too."""
        self._refusals: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._model_events: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._has_news = True
        """Whether anything was counted that was not told."""

    def watch(self, state: Callable[[], State], methods: Iterable[str]) -> None:
        """Learn of a server before it is called.

        Args:
            state: says how things are, whenever a snapshot is made.
            methods: paths of those that can be called.
        """
        self._state = state
        self._methods.update((path, MethodCounts()) for path in methods)

    # -- what happens

    def on_call(self, call: ObservedCall) -> None:
        """Count a call."""
        self._methods[call.path].count(call.code, clock() - call.began_s)
        self._has_news = True

    def on_refusal(self, event: str, reason: str) -> None:
        """Count what was refused."""
        kind = (event, reason)
        if kind not in self._refusals and len(self._refusals) >= _MOST_REFUSALS:
            kind = _OTHER
        self._refusals[kind] += 1
        self._has_news = True

    def on_request(self, request: Request) -> None:
        """Count a request."""
        self._of(request.model).count(request)
        self._has_news = True

    def on_run(self, model: ModelInfo, run: Run) -> None:
        """Count a batch."""
        self._of(model).count_run(run)
        self._has_news = True

    def on_model(self, name: str, version: int, event: ModelEvent) -> None:  # noqa: ARG002 - as every observer
        """Count what has become of a version."""
        kind: tuple[str, str] = (name, event)
        if kind not in self._model_events and len(self._model_events) >= _MOST_MODEL_EVENTS:
            kind = (_OTHER_MODEL, event)
        self._model_events[kind] += 1
        self._has_news = True

    # -- what is told

    async def answer(self, _: None = None) -> list[Any]:
        """Answer whoever asks for the numbers."""
        return (await self.collect()).as_json()

    async def answer_news(self, _: None = None) -> list[Any]:
        """Answer likewise, once something has been counted since they were told last."""
        while not self._has_news:  # noqa: ASYNC110 - an Event would cost each call what this costs a second
            await asyncio.sleep(_NEWS_EVERY_S)
        return await self.answer()

    async def collect(self) -> Snapshot:
        """Return all numbers as they are now."""
        self._has_news = False
        state = self._state()
        for info, _ in state.loaded:
            self._of(info)  # so that it is told of before it is asked
        snapshot = own_process()
        snapshot.add(Snapshot(self._kept(), self._living(state)))
        return snapshot

    def _kept(self) -> Numbers:
        server: dict[str, Tree] = {
            table.CALLS.name: {_name(path): method.codes() for path, method in self._methods.items()},
            table.CALL_DURATION.name: {
                _name(path): method.duration() for path, method in self._methods.items()
            },
            table.REFUSALS.name: _by_two(self._refusals),
            table.MODEL_EVENTS.name: _by_two(self._model_events),
            table.WORKER_RESTARTS.name: 0,
        }
        offset_ns = time.time_ns() - nanoseconds(clock())
        models = {_version(key): counts.numbers(offset_ns) for key, counts in self._models.items()}
        return Numbers(server, models)

    def _living(self, state: State) -> Numbers:
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
            (info.name, str(info.version)): {
                table.MODEL.name: {info.provider: 1},
                table.WAITING_IMAGES.name: waiting_images,
            }
            for info, waiting_images in state.loaded
        }
        return Numbers(server, models)

    def _of(self, info: ModelInfo | None) -> ModelCounts:
        """Find the numbers of a version."""
        last = self._last
        if last is not None and last[0] is info:
            return last[1]
        key = _UNKNOWN if info is None else (info.name, info.version)
        counts = self._models.get(key)
        if counts is None:
            self._forget_retired()
            counts = self._models[key] = ModelCounts()
        self._last = info, counts
        return counts

    def _forget_retired(self) -> None:
        keys = {_version(key): key for key in self._models}
        loaded = [(info.name, str(info.version)) for info, _ in self._state().loaded]
        for version in retired(keys, loaded):
            del self._models[keys[version]]


def _by_two(counts: dict[tuple[str, str], int]) -> dict[str, Tree]:
    tree: dict[str, dict[str, Tree]] = {}
    for (first, second), count in counts.items():
        tree.setdefault(first, {})[second] = count
    return {**tree}


def _name(path: str) -> str:
    """Return a method's name as people write it, without the slash of its path."""
    return path.removeprefix("/")


def _version(key: tuple[str, int]) -> Version:
    name, version = key
    return name, str(version) if version else ""
