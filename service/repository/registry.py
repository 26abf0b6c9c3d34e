"""The versions that answer, found by name and version as callers write them.

In: the versions of each model. Out: the one that a caller means. A change of a model's versions is seen by
all calls that come after it, and by none before. To be used within one event loop. Knows nothing of files.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from service.errors import NotServingError, UnknownModelError
from service.system.malloc import trim

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.repository.background_thread import Background
    from service.repository.served_model import ServedModel
    from service.runtime.model import ModelInfo


class Shelf:
    """Empty until a default is named."""

    def __init__(self, background: Background) -> None:
        """Tidy up after versions in the background."""
        self.default: str | None = None
        """The model that answers requests which name none; it may be absent for a while."""
        self.retiring: set[ServedModel] = set()
        """Versions that are replaced and still have calls to answer."""
        self.why_not: Callable[[str], str] = lambda _name: ""
        """Says of a model why it, or its newest version, does not answer; empty if nothing is known."""
        self._models: dict[str, dict[int, ServedModel]] = {}
        self._by_words: dict[tuple[str, str], ServedModel] = {}
        self._background = background
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def names(self) -> list[str]:
        """Of the models that answer, in order."""
        return sorted(self._models)

    def get(self, name: str, version: str) -> ServedModel:
        """Find a version as ``Repository.get`` does."""
        model = self._by_words.get((name, version))
        if model is None:
            raise self._unknown(name, version)
        return model

    def versions(self, name: str) -> Mapping[int, ServedModel]:
        """Find the versions of a model that answer."""
        return self._models.get(name, {})

    def infos(self) -> list[ModelInfo]:
        """Every version that answers: the default model first, then by name, the newest version first."""
        infos = [model.info for versions in self._models.values() for model in versions.values()]
        return sorted(infos, key=lambda info: (info.name != self.default, info.name, -info.version))

    def put(self, name: str, versions: Mapping[int, ServedModel]) -> list[ServedModel]:
        """Have these versions of a model answer from now on, and no others.

        Returns:
            The ones that answered before and do not any more; each is closed when its last call ends.
        """
        before = self._models.pop(name, {})
        if versions:
            self._models[name] = dict(versions)
        self._by_words = self._words()
        kept = set(versions.values())
        gone = [model for model in before.values() if model not in kept]
        for model in gone:
            self.retiring.add(model)
            model.retire(self._close_soon)
        return gone

    async def close(self) -> None:
        """Stop all; whoever still waits gets NotServingError."""
        for model in (*self.retiring, *(model for each in self._models.values() for model in each.values())):
            await model.sessions.close()

    def _words(self) -> dict[tuple[str, str], ServedModel]:
        """Every way to name each version: a call is one look-up."""
        words = {}
        for name, versions in self._models.items():
            names = (name, "") if name == self.default else (name,)
            for each in names:
                words.update({(each, str(version)): model for version, model in versions.items()})
                words[each, ""] = versions[max(versions)]
        return words

    def _unknown(self, name: str, version: str) -> Exception:
        if self.default is None:
            return NotServingError("the server is still loading its models; ask again in a moment")
        versions = self._models.get(name or self.default)
        if versions is not None:
            reason = self.why_not(name or self.default)
            return UnknownModelError(
                f"model {name or self.default} has no version {version[:100]!r}; it has: "
                f"{', '.join(map(str, sorted(versions)))}{f' ({reason})' if reason else ''}"
            )
        there_are = ", ".join(self.names) or "none"
        reason = self.why_not(name or self.default)
        if reason:
            return UnknownModelError(
                f"model {name or self.default} does not answer: {reason}; there are: {there_are}"
            )
        if name:
            return UnknownModelError(f"no model is called {name[:100]!r}; there are: {there_are}")
        return UnknownModelError(
            f"the default model {self.default!r} is not loaded; name one of those that are: {there_are}"
        )

    def _close_soon(self, model: ServedModel) -> None:
        task = asyncio.get_running_loop().create_task(self._close(model))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, model: ServedModel) -> None:
        await model.close()
        self.retiring.discard(model)
        del model
        await self._background.run(trim)
