"""Which models a server has: found in a folder, loaded, looked up by name, and changed while it serves.

In: a folder ``<model>/<version>/model.onnx``. Out: for a name and version as callers write them, the version
that answers. Knows nothing of gRPC messages.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from service.errors import ModelControlError, NotServingError
from service.repository.background_thread import Background
from service.repository.polling import watch
from service.repository.registry import Shelf
from service.repository.startup_check import check_start
from service.repository.two_phase_commit import Everywhere
from service.repository.version_updates import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.config import ServerConfig
    from service.observability.observers import Observer
    from service.repository.index import IndexEntry
    from service.repository.loading import Loaded
    from service.repository.other_workers import Elsewhere
    from service.repository.served_model import ServedModel
    from service.repository.two_phase_commit import Action
    from service.runtime.model import ModelInfo
    from service.workers.control_client import ControlClient


class Repository:
    """The models of one server; empty until ``open`` has succeeded."""

    def __init__(self) -> None:
        self.on_change: Callable[[], None] = lambda: None
        """Is called whenever ``models`` may say something else; to be set before ``open``."""
        self._loading = Background()
        self._shelf = Shelf(self._loading)
        self._lifecycle: Lifecycle | None = None
        self._everywhere: Everywhere | None = None
        self._watching: asyncio.Task[None] | None = None
        self._is_controlled = False

    @property
    def default(self) -> str | None:
        """The model that answers requests which name none; None before ``open``."""
        return self._shelf.default

    def join(self, control: ControlClient) -> None:
        """Answer the other processes of the server about models; to be called before they are joined."""
        self._everywhere = Everywhere(control)

    async def elsewhere(self) -> Elsewhere | None:
        """Find out what the server's other processes answer with; None if no other serves yet."""
        return None if self._everywhere is None else await self._everywhere.elsewhere()

    def open(
        self,
        loaded: Loaded,
        config: ServerConfig,
        observer: Observer | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """Begin to answer with these models; called within the event loop.

        Args:
            loaded: the sessions of each version, and what was refused.
            config: how to batch, which model is the default, which changes are allowed.
            observer: is told of the models' runs and changes.
            elsewhere: what the other processes answer with, which this one is to be like.

        Raises:
            ModelError: none answers, or one that has to does not: the default model, unless it was unloaded
                elsewhere, or one of ``require_models``.
        """
        self._is_controlled = config.model_control
        self._shelf.default = check_start(loaded, config, elsewhere)
        self._lifecycle = Lifecycle(self._shelf, self._loading, config, observer, self.on_change)
        self._lifecycle.open(loaded, elsewhere)
        if self._everywhere is not None:
            self._everywhere.open(self._lifecycle)

    def get(self, name: str, version: str) -> ServedModel:
        """Find the version that answers, for a ``with`` block in which it stays.

        Args:
            name: a model's name; empty is the default model.
            version: a version number in decimal; empty is the newest that answers.

        Raises:
            UnknownModelError: there is no such model or version.
            NotServingError: no model is loaded yet.
        """
        return self._shelf.get(name, version)

    def index(self) -> list[IndexEntry]:
        """Every version, those in the folder that do not answer too, as of the last look at it."""
        return self._opened().index()

    def list(self) -> list[ModelInfo]:
        """Every version that answers: the default model first, then by name; the newest version first.

        Raises:
            NotServingError: no model is loaded yet.
        """
        self._opened()
        return self._shelf.infos()

    def models(self) -> Mapping[str, bool]:
        """Say of every model, those in the folder that are not loaded too, whether it answers."""
        return self._opened().models()

    async def look(self) -> None:
        """Look at the folder now.

        Raises:
            ModelError: it cannot be read, or has no model.
        """
        await self._opened().look()

    async def load(self, name: str) -> None:
        """Load what is wanted of a model, in this process alone; what answers stays if something is refused.

        Raises:
            UnknownModelError: there is no such model.
            ModelLoadError: a version is refused.
        """
        lifecycle = self._opened()
        lifecycle.commit_load(await lifecycle.prepare_load(name))

    async def unload(self, name: str) -> None:
        """Answer with a model no more until it is loaded, in this process alone.

        Raises:
            UnknownModelError: there is no such model.
        """
        lifecycle = self._opened()
        lifecycle.check_known(name)
        lifecycle.unload(name)

    async def load_everywhere(self, name: str) -> None:
        """Load what is wanted of a model, in every process of the server or in none.

        Raises:
            ModelControlError: models are not to be changed so.
            UnknownModelError: there is no such model.
            ModelLoadError: a version is refused, by this process or by another.
            ModelBusyError: another model is being loaded or unloaded.
        """
        await self._change("load", name)

    async def unload_everywhere(self, name: str) -> None:
        """Answer with a model no more until it is loaded, in every process; raises as loading does."""
        await self._change("unload", name)

    def watch(self, every_s: float) -> None:
        """Follow the folder from now on; 0 looks once, so that the index shows it."""
        self._watching = asyncio.get_running_loop().create_task(watch(self._opened(), every_s))

    def stop_watching(self) -> None:
        """Change nothing any more by itself."""
        if self._watching is not None:
            self._watching.cancel()

    async def close(self) -> None:
        """Stop all models; whoever still waits gets NotServingError."""
        self.stop_watching()
        await self._shelf.close()
        self._loading.close()
        if self._lifecycle is not None:
            self._lifecycle.close()

    async def _change(self, action: Action, name: str) -> None:
        if not self._is_controlled:
            raise ModelControlError(
                "models are not loaded or unloaded by call; start the server with --model-control to allow it"
            )
        if self._everywhere is None:
            raise NotServingError("the server is still starting; ask again in a moment")
        await self._everywhere.change(action, name)

    def _opened(self) -> Lifecycle:
        if self._lifecycle is None:
            raise NotServingError("the server is still loading its models; ask again in a moment")
        return self._lifecycle
