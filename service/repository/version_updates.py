"""Replaces served versions while the server runs.

A new version is loaded beside the old ones, verified and warmed up, and takes over only then; a refused one
leaves them in place. Versions are loaded one at a time. For use within one event loop.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import structlog

from service.errors import ModelError, ModelLoadError, StartupError, UnknownModelError
from service.observability.observers import Observer
from service.repository.background_thread import BackgroundThread
from service.repository.folder import UNREADABLE, scan
from service.repository.index import UNVERIFIED, VersionIndex
from service.repository.loading import start, verify
from service.repository.served_model import ServedModelFactory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from service.config import ServerConfig
    from service.observability.observers import ModelEvent
    from service.repository.folder import Contents, FoundVersion
    from service.repository.index import OtherWorkers
    from service.repository.loading import Loaded
    from service.repository.registry import Registry
    from service.repository.served_model import ServedModel
    from service.runtime.model import ModelInfo, OnnxModel

_LONGEST_REASON = 1_000
"""Characters, in the index and the log; names in a model file may have any length."""
_log = structlog.get_logger(__name__)


@dataclass
class Change:
    """A prepared change of a model's versions, without effect until it is committed."""

    name: str
    wanted: set[int]
    """The versions to serve, and no others if all of these can be loaded."""
    fresh: dict[FoundVersion, ServedModel] = field(default_factory=dict)
    """Versions loaded for this change, not started."""
    refusals: list[str] = field(default_factory=list)
    """Why others were refused."""


class VersionUpdater:
    """Changes the versions in a registry."""

    def __init__(
        self,
        registry: Registry,
        loading: BackgroundThread,
        config: ServerConfig,
        observer: Observer | None,
        on_change: Callable[[], None],
    ) -> None:
        """Change the versions in ``registry``; ``loading`` loads new ones."""
        self.index = VersionIndex(config.versions, registry)
        self._registry = registry
        self._config = config
        self._observer = observer or Observer()
        self._factory = ServedModelFactory(config, observer)
        self._on_change = on_change
        self._loading = loading
        self._scanning = BackgroundThread()  # so that scans do not wait for slow loads
        self._turn = asyncio.Lock()

    def open(self, loaded: Loaded, other_workers: OtherWorkers | None) -> None:
        """Serve the versions that were loaded at startup."""
        self.index.record_contents(loaded.contents)
        if other_workers is not None:
            self.index.adopt(other_workers)
        for refusal in loaded.refusals:
            self._refuse(refusal.found, refusal.reason)
        by_name: dict[str, dict[int, ServedModel]] = {}
        for sessions in loaded.models:
            model = self._factory.make(sessions)
            by_name.setdefault(model.info.name, {})[model.info.version] = model
        for name, versions in by_name.items():
            self._put(name, versions)
        self._on_change()

    @property
    def names(self) -> list[str]:
        """Names of the models that answer."""
        return self._registry.names

    async def scan(self) -> Contents:
        """Scan the folder and update the index. Raises ModelError if it cannot be read or has no model."""
        contents = await self._scanning.run(partial(scan, self._config.models))
        self.index.record_contents(contents)
        self._on_change()
        return contents

    async def update(self, contents: Contents, names: Iterable[str]) -> None:
        """Serve these models as a scan found them, one after the other.

        Files that were refused before and models that were unloaded by a call are left alone. New refusals
        appear in the index and the log, and reach the observer.
        """
        for name in names:
            unreadable = contents.get(name, {}).get(UNREADABLE)
            if unreadable is not None:  # what is served stays
                if not self.index.is_settled(unreadable, is_served=False):
                    self._refuse(unreadable, unreadable.read_error)
            elif name not in self.index.unloaded:
                change = await self._prepare(name, contents.get(name, {}), is_requested=False)
                if name not in self.index.unloaded:  # meanwhile
                    self._commit(change)
        self._on_change()

    async def prepare_load(self, name: str) -> Change:
        """Load the wanted versions of a model that are not served yet, also those refused before.

        Raises:
            UnknownModelError: there is no such model.
            ModelLoadError: no version is wanted, or a wanted one is refused. If no version of the model is
                served yet, an older one may take its place.
        """
        try:
            contents = await self.scan()
        except ModelError as error:
            raise ModelLoadError(str(error)) from error
        if name not in contents:
            raise UnknownModelError(
                f"no model in the repository is called {name[:100]!r}; there are: {', '.join(contents)}"
            )
        if UNREADABLE in contents[name]:
            raise ModelLoadError(contents[name][UNREADABLE].read_error)
        change = await self._prepare(name, contents[name], is_requested=True)
        if not change.wanted:
            raise ModelLoadError(
                f"{name} has the versions {', '.join(map(str, sorted(contents[name])))}, and the server "
                f"answers with {self._config.versions.of(name)}"
            )
        if change.refusals and (self._registry.versions(name) or not change.fresh):
            raise ModelLoadError("; ".join(change.refusals))
        return change

    def commit_load(self, change: Change) -> None:
        """Serve what ``prepare_load`` has loaded."""
        self.index.unloaded.discard(change.name)
        self._commit(change)
        self._on_change()

    def check_known(self, name: str) -> None:
        """Raise UnknownModelError if the model is neither served, unloaded nor in the folder."""
        known = self.index.models()
        if name not in known:
            raise UnknownModelError(
                f"no model is called {name[:100]!r}; there are: {', '.join(sorted(known))}"
            )

    def unload(self, name: str) -> None:
        """Stop serving a model until it is loaded again; calls that have begun are answered."""
        self.index.unloaded.add(name)
        self._put(name, {})
        self._on_change()

    def close(self) -> None:
        """Stop the thread that scans."""
        self._scanning.close()

    async def _prepare(self, name: str, there: Mapping[int, FoundVersion], *, is_requested: bool) -> Change:
        """Load the wanted versions that are not served; retry refused ones only if requested."""
        policy, served = self._config.versions.of(name), self._registry.versions(name)
        change = Change(name, policy.choose(there))
        async with self._turn:
            for version in sorted(change.wanted):
                await self._try(there[version], change, is_requested=is_requested)
            for version in policy.fallbacks(change.wanted, there):
                answering = {*served, *(found.version for found in change.fresh)}
                if len(answering) >= len(change.wanted):
                    break
                await self._try(there[version], change, is_requested=False)
        return change

    async def _try(self, found: FoundVersion, change: Change, *, is_requested: bool) -> None:
        served = self._registry.versions(found.name).get(found.version)
        if not is_requested and self.index.is_settled(found, is_served=served is not None):
            return
        info = None if served is None else served.info
        self.index.loading.add(found.key)
        try:
            sessions = await self._loading.run(partial(_load, found, info, self._config))
        except StartupError as error:
            change.refusals.append(self._refuse(found, str(error)))
        except Exception:  # noqa: BLE001 - a bug refuses one version, no more
            _log.exception("model failed to load", model=found.name, version=found.version)
            change.refusals.append(self._refuse(found, "it failed to load; see the server's log"))
        else:
            if sessions is None:
                self.index.record_loaded(found)
            else:
                change.fresh[found] = self._factory.make(sessions)
        finally:
            self.index.loading.discard(found.key)

    def _refuse(self, found: FoundVersion, reason: str) -> str:
        """Record, log and observe a refusal; return the reason, cut to length."""
        reason = reason[:_LONGEST_REASON]
        self.index.record_refused(found, reason)
        _log.warning("model refused", model=found.name, version=found.version, reason=reason)
        self._observer.on_model(found.name, found.version, "refused")
        return reason

    def _commit(self, change: Change) -> None:
        answering = dict(self._registry.versions(change.name))
        for found, model in change.fresh.items():
            self.index.record_loaded(found)
            answering[found.version] = model
        if change.wanted <= answering.keys():  # else the old ones stay until all new ones are loaded
            answering = {version: answering[version] for version in change.wanted}
        self._put(change.name, answering)

    def _put(self, name: str, versions: Mapping[int, ServedModel]) -> None:
        before = set(self._registry.versions(name).values())
        fresh = [model for model in versions.values() if model not in before]
        for model in fresh:
            model.sessions.start()
        gone = self._registry.put(name, versions)
        for model in fresh:
            self._report(model.info, "loaded")
        for model in gone:
            self._report(model.info, "retired")

    def _report(self, info: ModelInfo, event: ModelEvent) -> None:
        self._observer.on_model(info.name, info.version, event)
        log = _log.bind(model=info.name, version=info.version)
        if event == "retired":
            log.info("model retired")
            return
        log.info("model ready", provider=info.provider, sha256=info.sha256)
        if info.sha256 is not None and not info.is_verified:
            log.warning("model not verified", reason=UNVERIFIED)
        if info.warning:
            log.warning("model saturates", reason=info.warning)


def _load(
    found: FoundVersion, served: ModelInfo | None, config: ServerConfig
) -> tuple[OnnxModel, ...] | None:
    """Load a version; return None if the same file is served already."""
    candidate = verify(found, config)
    if served is not None and served.sha256 == candidate.file.sha256:
        is_newly_verified = candidate.file.is_verified and not served.is_verified
        return start(candidate, config) if is_newly_verified else None
    return start(candidate, config)
