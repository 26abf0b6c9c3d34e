"""How the versions that answer change while the server serves.

In: what lies in the folder. Out: a new version that was loaded beside the old ones, verified and warmed up,
takes over; one that is refused leaves them as they are. One version is loaded at a time. To be used within
one event loop. Knows nothing of who asks for a change.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import structlog

from service.errors import ModelError, ModelLoadError, StartupError, UnknownModelError
from service.observability.observers import Observer
from service.repository.background_thread import Background
from service.repository.folder import ALL_OF_IT, look
from service.repository.index import UNVERIFIED, Ledger
from service.repository.loading import start, verify
from service.repository.served_model import Maker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from service.config import ServerConfig
    from service.observability.observers import ModelEvent
    from service.repository.folder import Contents, FoundVersion
    from service.repository.index import IndexEntry
    from service.repository.loading import Loaded
    from service.repository.other_workers import Elsewhere
    from service.repository.registry import Shelf
    from service.repository.served_model import ServedModel
    from service.runtime.model import ModelInfo, OnnxModel

_LONGEST_REASON = 1_000
"""Characters, of the index and of a line of the log; a model file may have names of any length."""
_log = structlog.get_logger(__name__)


@dataclass
class Change:
    """What a model's versions are to become; nothing of it holds before it is committed."""

    name: str
    wanted: set[int]
    """The versions that are to answer, and no others if they can."""
    fresh: dict[FoundVersion, ServedModel] = field(default_factory=dict)
    """Those that were loaded for it; not started."""
    refusals: list[str] = field(default_factory=list)
    """Why others were not."""


class Lifecycle:
    """Changes what is on a shelf."""

    def __init__(
        self,
        shelf: Shelf,
        loading: Background,
        config: ServerConfig,
        observer: Observer | None,
        on_change: Callable[[], None],
    ) -> None:
        """Prepare to change.

        Args:
            shelf: the versions that answer.
            loading: where versions are loaded.
            config: where the models are, which versions of them are wanted, what runs them.
            observer: is told of what becomes of versions, and of their runs.
            on_change: is called after each change.
        """
        self.ledger = Ledger(config.versions)
        self._shelf = shelf
        shelf.why_not = self.ledger.why_not
        self._config = config
        self._observer = observer or Observer()
        self._maker = Maker(config, observer)
        self._on_change = on_change
        self._loading = loading
        self._looking = Background()  # which a version that takes long to load does not hold up
        self._turn = asyncio.Lock()

    def open(self, loaded: Loaded, elsewhere: Elsewhere | None) -> None:
        """Begin to answer with versions that were loaded before anything could change."""
        self.ledger.note_contents(loaded.contents)
        if elsewhere is not None:
            self.ledger.unloaded.update(elsewhere.unloaded)
            self.ledger.note_refusals(elsewhere.refused)
        for refusal in loaded.refusals:
            self._refuse(refusal.found, refusal.reason)
        by_name: dict[str, dict[int, ServedModel]] = {}
        for sessions in loaded.models:
            model = self._maker.make(sessions)
            by_name.setdefault(model.info.name, {})[model.info.version] = model
        for name, versions in by_name.items():
            self._put(name, versions)
        self._on_change()

    @property
    def default(self) -> str | None:
        """The model that answers requests which name none."""
        return self._shelf.default

    @property
    def names(self) -> list[str]:
        """Of the models that answer."""
        return self._shelf.names

    def versions(self) -> Mapping[str, list[int]]:
        """Version numbers of the models that answer; none of those that were unloaded by hand."""
        answering = {name: sorted(self._shelf.versions(name)) for name in self._shelf.names}
        return {name: [] for name in self.ledger.unloaded} | answering

    def models(self) -> Mapping[str, bool]:
        """Say of every model whether it answers."""
        return self.ledger.models(self._shelf)

    def index(self) -> list[IndexEntry]:
        """Every version, those that do not answer too."""
        return self.ledger.entries(self._shelf)

    async def look(self) -> Contents:
        """Look at the folder, as the index shows it from then on.

        Raises:
            ModelError: it cannot be read, or has no model.
        """
        contents = await self._looking.run(partial(look, self._config.models))
        self.ledger.note_contents(contents)
        self._on_change()
        return contents

    async def follow(self, contents: Contents, names: Iterable[str]) -> None:
        """Have these models answer with what a look found of them, one after the other.

        What was refused before, or unloaded by hand, is left alone. What is refused now is said in the index,
        in the log, and to the observer.
        """
        for name in names:
            unreadable = contents.get(name, {}).get(ALL_OF_IT)
            if unreadable is not None:  # which is no reason to take away what answers
                if not self.ledger.is_settled(unreadable, is_served=False):
                    self._refuse(unreadable, unreadable.trouble)
            elif name not in self.ledger.unloaded:
                change = await self._prepare(name, contents.get(name, {}), is_asked_for=False)
                if name not in self.ledger.unloaded:  # meanwhile
                    self._commit(change)
        self._on_change()

    async def prepare_load(self, name: str) -> Change:
        """Load what is wanted of a model and does not answer yet, what was refused before too.

        Raises:
            UnknownModelError: there is no such model.
            ModelLoadError: none is wanted, or one that is wanted is refused. Where nothing of the model
                answers yet, an older version takes its place.
        """
        try:
            contents = await self.look()
        except ModelError as error:
            raise ModelLoadError(str(error)) from error
        if name not in contents:
            raise UnknownModelError(
                f"no model in the repository is called {name[:100]!r}; there are: {', '.join(contents)}"
            )
        if ALL_OF_IT in contents[name]:
            raise ModelLoadError(contents[name][ALL_OF_IT].trouble)
        change = await self._prepare(name, contents[name], is_asked_for=True)
        if not change.wanted:
            raise ModelLoadError(
                f"{name} has the versions {', '.join(map(str, sorted(contents[name])))}, and the server "
                f"answers with {self._config.versions.of(name)}"
            )
        if change.refusals and (self._shelf.versions(name) or not change.fresh):
            raise ModelLoadError("; ".join(change.refusals))
        return change

    def commit_load(self, change: Change) -> None:
        """Answer with what was loaded, from now on."""
        self.ledger.unloaded.discard(change.name)
        self._commit(change)
        self._on_change()

    def check_known(self, name: str) -> None:
        """Raise UnknownModelError if no such model answers, is unloaded, or lies in the folder."""
        known = self.models()
        if name not in known:
            raise UnknownModelError(
                f"no model is called {name[:100]!r}; there are: {', '.join(sorted(known))}"
            )

    def unload(self, name: str) -> None:
        """Answer with a model no more, until it is loaded again; calls that have begun are answered."""
        self.ledger.unloaded.add(name)
        self._put(name, {})
        self._on_change()

    def close(self) -> None:
        """Look and load no more."""
        self._looking.close()

    async def _prepare(self, name: str, there: Mapping[int, FoundVersion], *, is_asked_for: bool) -> Change:
        """Load what is wanted and does not answer; what was refused before only if it is asked for."""
        policy, served = self._config.versions.of(name), self._shelf.versions(name)
        change = Change(name, policy.choose(there))
        async with self._turn:
            for version in sorted(change.wanted):
                await self._try_if_new(there[version], change, is_asked_for=is_asked_for)
            for version in policy.fallbacks(change.wanted, there):
                answering = {*served, *(found.version for found in change.fresh)}
                if len(answering) >= len(change.wanted):
                    break
                await self._try_if_new(there[version], change, is_asked_for=False)
        return change

    async def _try_if_new(self, found: FoundVersion, change: Change, *, is_asked_for: bool) -> None:
        served = self._shelf.versions(found.name).get(found.version)
        if is_asked_for or not self.ledger.is_settled(found, is_served=served is not None):
            await self._try(found, None if served is None else served.info, change)

    async def _try(self, found: FoundVersion, served: ModelInfo | None, change: Change) -> None:
        self.ledger.loading.add(found.key)
        try:
            sessions = await self._loading.run(partial(_load, found, served, self._config))
        except StartupError as error:
            change.refusals.append(self._refuse(found, str(error)))
        except Exception:  # noqa: BLE001 - a fault of ours refuses one version, and no more
            _log.exception("model failed to load", model=found.name, version=found.version)
            change.refusals.append(self._refuse(found, "it failed to load; the server's log says why"))
        else:
            if sessions is None:
                self.ledger.note_taken(found)
            else:
                change.fresh[found] = self._maker.make(sessions)
        finally:
            self.ledger.loading.discard(found.key)

    def _refuse(self, found: FoundVersion, reason: str) -> str:
        """Keep and tell why a version does not answer; return the reason, no longer than is told."""
        reason = reason[:_LONGEST_REASON]
        self.ledger.note_refused(found, reason)
        _log.warning("model refused", model=found.name, version=found.version, reason=reason)
        self._observer.on_model(found.name, found.version, "refused")
        return reason

    def _commit(self, change: Change) -> None:
        answering = dict(self._shelf.versions(change.name))
        for found, model in change.fresh.items():
            self.ledger.note_taken(found)
            answering[found.version] = model
        if change.wanted <= answering.keys():  # else the old ones stay until all of the new ones are there
            answering = {version: answering[version] for version in change.wanted}
        self._put(change.name, answering)

    def _put(self, name: str, versions: Mapping[int, ServedModel]) -> None:
        before = set(self._shelf.versions(name).values())
        fresh = [model for model in versions.values() if model not in before]
        for model in fresh:
            model.sessions.start()
        gone = self._shelf.put(name, versions)
        for model in fresh:
            self._say(model.info, "loaded")
        for model in gone:
            self._say(model.info, "retired")

    def _say(self, info: ModelInfo, event: ModelEvent) -> None:
        self._observer.on_model(info.name, info.version, event)
        if event == "retired":
            _log.info("model retired", model=info.name, version=info.version)
            return
        _log.info(
            "model ready",
            model=info.name,
            version=info.version,
            provider=info.provider,
            sha256=info.sha256,
        )
        if info.sha256 is not None and not info.is_verified:
            _log.warning("model not verified", model=info.name, version=info.version, reason=UNVERIFIED)
        if info.caution:
            _log.warning("model saturates", model=info.name, version=info.version, reason=info.caution)


def _load(
    found: FoundVersion, served: ModelInfo | None, config: ServerConfig
) -> tuple[OnnxModel, ...] | None:
    """Load a version; None if it is what is served already."""
    candidate = verify(found, config)
    if served is not None and served.sha256 == candidate.file.sha256:
        is_news = candidate.file.is_verified and not served.is_verified
        return start(candidate, config) if is_news else None
    return start(candidate, config)
