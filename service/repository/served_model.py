"""A served model version, closed when it is no longer used.

Calls hold a lease on a version, so that each ends with the version it began with. A retired version frees its
threads and memory after the last lease. For use within one event loop.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from service.batching.batcher import Batcher
from service.batching.cache import CachedBatcher, ResponseCache

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.config import ServerConfig
    from service.observability.observers import Observer
    from service.runtime.model import ModelInfo, OnnxModel

_Writer = TypeVar("_Writer")


class ServedModel:
    """A version and its batcher; ``with repository.get(name, version) as model:`` holds a lease."""

    __slots__ = ("_leases", "_models", "_on_unused", "_writers", "batcher", "info", "sessions")

    def __init__(
        self, models: Sequence[OnnxModel], sessions: Batcher, batcher: Batcher | CachedBatcher
    ) -> None:
        self.info = models[0].info
        self.batcher = batcher
        """Answers calls, from the cache if there is one."""
        self.sessions = sessions
        """The batcher behind the cache."""
        self._writers: dict[Callable[[ModelInfo], Any], Any] = {}
        self._models = models
        self._leases = 0
        self._on_unused: Callable[[ServedModel], None] | None = None

    def __enter__(self) -> Self:
        self._leases += 1
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._leases -= 1
        if self._on_unused is not None and not self._leases:
            self._on_unused(self)

    def writer(self, make: Callable[[ModelInfo], _Writer]) -> _Writer:
        """Return the response writer that ``make`` makes, made on first use."""
        writer: _Writer | None = self._writers.get(make)
        if writer is None:
            writer = self._writers[make] = make(self.info)
        return writer

    def retire(self, on_unused: Callable[[ServedModel], None]) -> None:
        """Call ``on_unused`` after the last lease, which may be now."""
        self._on_unused = on_unused
        if not self._leases:
            on_unused(self)

    async def close(self) -> None:
        """Stop and free the sessions; unanswered calls get NotServingError."""
        await self.sessions.close()
        for model in self._models:
            model.close()


class ServedModelFactory:
    """Makes served models, all with the same settings and one cache."""

    def __init__(self, config: ServerConfig, observer: Observer | None = None) -> None:
        """Batch and cache as ``config`` says; report runs to the observer."""
        self._config = config
        self._observer = observer
        self._cache = ResponseCache(config.cache_mib << 20) if config.cache_mib else None

    def make(self, models: Sequence[OnnxModel]) -> ServedModel:
        """Make a served model of a version's sessions; nothing runs before they are started."""
        info = models[0].info
        on_run = None if self._observer is None else partial(self._observer.on_run, info)
        sessions = Batcher(
            [model.run for model in models],
            self._config.max_batch,
            max_queue_delay_s=self._config.max_queue_delay_s,
            on_run=on_run,
        )
        if self._cache is None:
            return ServedModel(models, sessions, sessions)
        cached = CachedBatcher(sessions, self._cache, info.name, info.version, info.sha256 or "")
        return ServedModel(models, sessions, cached)
