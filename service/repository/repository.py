"""The models of a server: loaded from a folder, looked up by name and version, changed while it serves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from service.errors import ModelControlError, NotServingError
from service.repository.background_thread import BackgroundThread
from service.repository.polling import poll
from service.repository.registry import Registry
from service.repository.startup_check import check_start
from service.repository.two_phase_commit import TwoPhaseCommit
from service.repository.version_updates import VersionUpdater

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.config import ServerConfig
    from service.observability.observers import Observer
    from service.repository.index import IndexEntry, OtherWorkers
    from service.repository.loading import Loaded
    from service.repository.served_model import ServedModel
    from service.repository.two_phase_commit import Action
    from service.runtime.model import ModelInfo
    from service.workers.control_client import ControlClient


class Repository:
    """The models of one server; empty until ``open`` has succeeded."""

    def __init__(self) -> None:
        self.on_change: Callable[[], None] = lambda: None
        """Called when ``models`` may have changed; set it before ``open``."""
        self._loading = BackgroundThread()
        self._registry = Registry(self._loading)
        self._updater: VersionUpdater | None = None
        self._two_phase_commit: TwoPhaseCommit | None = None
        self._polling: asyncio.Task[None] | None = None
        self._is_controlled = False

    @property
    def default(self) -> str | None:
        """The model for requests that name none; None before ``open``."""
        return self._registry.default

    def join(self, control: ControlClient) -> None:
        """Answer the other workers about models; call it before the control client joins them."""
        self._two_phase_commit = TwoPhaseCommit(control)

    async def other_workers(self) -> OtherWorkers | None:
        """Ask what the other workers serve; None if no other serves yet."""
        return None if self._two_phase_commit is None else await self._two_phase_commit.other_workers()

    def open(
        self,
        loaded: Loaded,
        config: ServerConfig,
        observer: Observer | None = None,
        other_workers: OtherWorkers | None = None,
    ) -> None:
        """Begin to serve; call it within the event loop.

        Args:
            loaded: the sessions of each version, and what was refused.
            config: how to batch, which model is the default, which changes are allowed.
            observer: observes runs and changes of models.
            other_workers: what the other workers serve; this one then serves the same.

        Raises:
            ModelError: no model answers, or a required one does not: one of ``require_models``, or the
                default model unless the other workers have unloaded it.
        """
        self._is_controlled = config.model_control
        self._registry.default = check_start(loaded, config, other_workers)
        self._updater = VersionUpdater(self._registry, self._loading, config, observer, self.on_change)
        self._updater.open(loaded, other_workers)
        if self._two_phase_commit is not None:
            self._two_phase_commit.open(self._updater)

    def get(self, name: str, version: str) -> ServedModel:
        """Find a served version; hold it by a ``with`` block while it is used.

        An empty name is the default model; the version is a decimal number, or empty for the newest served.

        Raises:
            UnknownModelError: there is no such model or version.
            NotServingError: no model is loaded yet.
        """
        return self._registry.get(name, version)

    def index(self) -> list[IndexEntry]:
        """Return every version as of the last scan of the folder, including those that do not answer."""
        return self._opened().index.entries()

    def list(self) -> list[ModelInfo]:
        """Return every served version: the default model first, then by name; newest version first.

        Raises:
            NotServingError: no model is loaded yet.
        """
        self._opened()
        return self._registry.infos()

    def models(self) -> Mapping[str, bool]:
        """Return whether each model answers, including models that are not loaded."""
        return self._opened().index.models()

    async def scan(self) -> None:
        """Scan the folder now. Raises ModelError if it cannot be read or has no model."""
        await self._opened().scan()

    async def load(self, name: str) -> None:
        """Load the wanted versions of a model, in every worker or in none.

        Raises:
            ModelControlError: the server does not allow it.
            UnknownModelError: there is no such model.
            ModelLoadError: a worker refused a version.
            ModelBusyError: another model is being loaded or unloaded.
        """
        await self._change("load", name)

    async def unload(self, name: str) -> None:
        """Stop serving a model until it is loaded again, in every worker; raises as ``load`` does."""
        await self._change("unload", name)

    def start_polling(self, interval_s: float) -> None:
        """Follow changes of the folder; an interval of 0 scans once, for the index."""
        self._polling = asyncio.get_running_loop().create_task(poll(self._opened(), interval_s))

    def stop_polling(self) -> None:
        """Stop following changes of the folder."""
        if self._polling is not None:
            self._polling.cancel()

    async def close(self) -> None:
        """Stop all models; unanswered calls get NotServingError."""
        self.stop_polling()
        await self._registry.close()
        self._loading.close()
        if self._updater is not None:
            self._updater.close()

    async def _change(self, action: Action, name: str) -> None:
        if not self._is_controlled:
            raise ModelControlError(
                "models are not loaded or unloaded by call; start the server with --model-control to allow it"
            )
        if self._two_phase_commit is None:
            raise NotServingError("the server is still starting; ask again in a moment")
        await self._two_phase_commit.change(action, name)

    def _opened(self) -> VersionUpdater:
        if self._updater is None:
            raise NotServingError("the server is still loading its models; ask again in a moment")
        return self._updater
