"""The versions that answer, found by name and version as callers write them.

A change of a model's versions applies to all calls after it, none before. For use within one event loop.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from service.errors import NotServingError, UnknownModelError
from service.system.malloc import trim

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.repository.background_thread import BackgroundThread
    from service.repository.served_model import ServedModel
    from service.runtime.model import ModelInfo


class Registry:
    """The served versions; empty until a default is named."""

    def __init__(self, background: BackgroundThread) -> None:
        """Make an empty registry, which frees memory of closed versions in ``background``."""
        self.default: str | None = None
        """The model for requests that name none; it need not be loaded."""
        self.retiring: set[ServedModel] = set()
        """Replaced versions that still have calls to answer."""
        self.why_not: Callable[[str], str] = lambda _name: ""
        """Returns why a model, or its newest version, does not answer; empty if unknown."""
        self._models: dict[str, dict[int, ServedModel]] = {}
        self._by_request: dict[tuple[str, str], ServedModel] = {}
        self._background = background
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def names(self) -> list[str]:
        """Names of the models that answer, sorted."""
        return sorted(self._models)

    def get(self, name: str, version: str) -> ServedModel:
        """Find a version, as ``Repository.get`` does."""
        model = self._by_request.get((name, version))
        if model is None:
            raise self._unknown(name, version)
        return model

    def versions(self, name: str) -> Mapping[int, ServedModel]:
        """Return the served versions of a model."""
        return self._models.get(name, {})

    def infos(self) -> list[ModelInfo]:
        """Return every served version: the default model first, then by name; newest version first."""
        infos = [model.info for versions in self._models.values() for model in versions.values()]
        return sorted(infos, key=lambda info: (info.name != self.default, info.name, -info.version))

    def put(self, name: str, versions: Mapping[int, ServedModel]) -> list[ServedModel]:
        """Serve exactly these versions of a model from now on.

        Returns:
            The versions that no longer answer; each is closed when its last call ends.
        """
        before = self._models.pop(name, {})
        if versions:
            self._models[name] = dict(versions)
        self._by_request = self._index()
        kept = set(versions.values())
        gone = [model for model in before.values() if model not in kept]
        for model in gone:
            self.retiring.add(model)
            model.retire(self._start_closing)
        return gone

    async def close(self) -> None:
        """Stop all versions; unanswered calls get NotServingError."""
        for model in (*self.retiring, *(model for each in self._models.values() for model in each.values())):
            await model.sessions.close()

    def _index(self) -> dict[tuple[str, str], ServedModel]:
        """Index every way to name a version, so that a call needs one look-up."""
        index = {}
        for name, versions in self._models.items():
            names = (name, "") if name == self.default else (name,)
            for each in names:
                index.update({(each, str(version)): model for version, model in versions.items()})
                index[each, ""] = versions[max(versions)]
        return index

    def _unknown(self, name: str, version: str) -> Exception:
        if self.default is None:
            return NotServingError("the server is still loading its models; ask again in a moment")
        meant = name or self.default
        versions, reason = self.versions(meant), self.why_not(meant)
        if versions:
            return UnknownModelError(
                f"model {meant} has no version {version[:100]!r}; it has: "
                f"{', '.join(map(str, sorted(versions)))}{f' ({reason})' if reason else ''}"
            )
        there_are = ", ".join(self.names) or "none"
        if reason:
            return UnknownModelError(f"model {meant} does not answer: {reason}; there are: {there_are}")
        if name:
            return UnknownModelError(f"no model is called {name[:100]!r}; there are: {there_are}")
        return UnknownModelError(
            f"the default model {self.default!r} is not loaded; name one of those that are: {there_are}"
        )

    def _start_closing(self, model: ServedModel) -> None:
        task = asyncio.get_running_loop().create_task(self._close(model))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, model: ServedModel) -> None:
        await model.close()
        self.retiring.discard(model)
        del model
        await self._background.run(trim)
