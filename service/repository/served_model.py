"""A model version that answers, for as long as anybody uses it.

In: its sessions. Out: a batcher to ask, lent out by ``with``: who began with a version ends with it. One that
is retired lets go of its threads and memory when the last user is done. To be used within one event loop.
Knows nothing of other versions.
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
    """A version and what answers for it: ``with repository.get(name, version) as model:``."""

    __slots__ = ("_leases", "_models", "_on_unused", "_writers", "batcher", "info", "sessions")

    def __init__(
        self, models: Sequence[OnnxModel], sessions: Batcher, batcher: Batcher | CachedBatcher
    ) -> None:
        self.info = models[0].info
        self.batcher = batcher
        """To ask."""
        self.sessions = sessions
        """What runs it in the end."""
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
        """Return what writes the answers of a protocol, made when it is first asked for."""
        writer: _Writer | None = self._writers.get(make)
        if writer is None:
            writer = self._writers[make] = make(self.info)
        return writer

    def retire(self, on_unused: Callable[[ServedModel], None]) -> None:
        """Have ``on_unused`` called once nobody uses it any more, which may be now."""
        self._on_unused = on_unused
        if not self._leases:
            on_unused(self)

    async def close(self) -> None:
        """Stop, and give back what its sessions hold; whoever still waits gets NotServingError."""
        await self.sessions.close()
        for model in self._models:
            model.close()


class Maker:
    """Makes served models of sessions, all in the same way."""

    def __init__(self, config: ServerConfig, observer: Observer | None = None) -> None:
        """Batch as ``config`` says, and tell the observer of every run."""
        self._config = config
        self._observer = observer
        self._cache = ResponseCache(config.cache_mib << 20) if config.cache_mib else None

    def make(self, models: Sequence[OnnxModel]) -> ServedModel:
        """Make one of all sessions of a version; nothing runs before it is started."""
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
