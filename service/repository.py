"""Which models a server has: found in a folder, loaded, warmed up, and looked up by name.

In: a folder ``<model>/<version>/model.onnx``. Out: for a name and version as callers write them, the model
that answers. Knows nothing of gRPC messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from service.batching.batcher import Batcher
from service.batching.cache import CachedBatcher, ResponseCache
from service.errors import ModelError, NotServingError, UnknownModelError
from service.model import ModelFile, ModelInfo, OnnxModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from service.config import ServerConfig
    from service.observing import Observer

_FILE_NAME = "model.onnx"
_PREFERRED = "cifar10net"


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model and what answers for it."""

    info: ModelInfo
    batcher: Batcher | CachedBatcher
    """To ask."""
    sessions: Batcher
    """What runs it in the end."""


class Repository:
    """The models of one server; empty until ``open`` has succeeded."""

    def __init__(self) -> None:
        self._models: dict[str, ServedModel] = {}
        self.default: str | None = None

    def open(
        self,
        models: Iterable[Sequence[OnnxModel]],
        config: ServerConfig,
        observer: Observer | None = None,
    ) -> None:
        """Begin to answer with these models; called within the event loop.

        Args:
            models: the sessions of each model.
            config: how to batch, and which model is the default.
            observer: is told of the models' runs.

        Raises:
            ModelError: the default model is none of them.
        """
        served = {}
        cache = ResponseCache(config.cache_mib << 20) if config.cache_mib else None
        for sessions in models:
            info = sessions[0].info
            batcher = Batcher(
                [session.run for session in sessions],
                config.max_batch,
                max_queue_delay_s=config.max_queue_delay_s,
                on_run=None if observer is None else partial(observer.on_run, info),
            )
            cached = CachedBatcher(batcher, cache, info.name, info.version) if cache else batcher
            served[info.name] = ServedModel(info, cached, batcher)
        default = config.default_model or (_PREFERRED if _PREFERRED in served else min(served))
        if default not in served:
            raise ModelError(
                f"the default model {default!r} is not in the repository, which has: "
                f"{', '.join(sorted(served))}"
            )
        for model in served.values():
            model.sessions.start()
        self._models, self.default = served, default

    def get(self, name: str, version: str) -> ServedModel:
        """Find the model that answers.

        Args:
            name: a model's name; empty is the default model.
            version: a version number in decimal; empty is the newest.

        Raises:
            UnknownModelError: there is no such model or version.
            NotServingError: no model is loaded yet.
        """
        default = self._check_is_open()
        model = self._models.get(name or default)
        if model is None:
            raise UnknownModelError(
                f"no model is called {name[:100]!r}; there are: {', '.join(sorted(self._models))}"
            )
        if version not in {"", str(model.info.version)}:
            raise UnknownModelError(
                f"model {model.info.name} has no version {version[:100]!r}; it has: {model.info.version}"
            )
        return model

    def list(self) -> list[ModelInfo]:
        """Every model that answers, default first, then by name.

        Raises:
            NotServingError: no model is loaded yet.
        """
        self._check_is_open()
        infos = [model.info for model in self._models.values()]
        return sorted(infos, key=lambda info: (info.name != self.default, info.name))

    def _check_is_open(self) -> str:
        """Return the default model's name."""
        if self.default is None:
            raise NotServingError("the server is still loading its models; ask again in a moment")
        return self.default

    async def close(self) -> None:
        """Stop all models; whoever still waits gets NotServingError."""
        for model in self._models.values():
            await model.sessions.close()


def load_models(config: ServerConfig) -> list[tuple[OnnxModel, ...]]:
    """Load and warm up the newest version of every model in the repository folder.

    Returns:
        The sessions of each model, by name.

    Raises:
        ModelError: the folder is missing or has no model, or a model is damaged or fails its
            warm-up.
        ProviderError: the provider that was asked for is not active.
    """
    models = []
    for name, version, path in _find(config.models):
        sessions = []
        file = ModelFile(path, name, version, path.read_bytes())
        for _ in range(config.instances):
            session = OnnxModel(file, config.provider, config.threads)
            session.warm_up(config.max_batch)
            sessions.append(session)
        models.append(tuple(sessions))
    return models


def _find(root: Path) -> list[tuple[str, int, Path]]:
    """Name, newest version and file of each model, by name."""
    try:
        files = sorted(root.glob(f"*/*/{_FILE_NAME}")) if root.is_dir() else None
    except OSError as error:
        raise ModelError(f"cannot read the model repository {root}: {error.strerror}") from error
    if files is None:
        raise ModelError(f"no model repository at {root}: the folder does not exist")
    newest: dict[str, tuple[int, Path]] = {}
    for path in files:
        folder = path.parent
        if folder.name.isdecimal() and int(folder.name) > 0:
            found = (int(folder.name), path)
            newest[folder.parent.name] = max(newest.get(folder.parent.name, found), found)
    if not newest:
        raise ModelError(f"{root} has no model: wanted <model>/<version>/{_FILE_NAME} in it")
    return [(name, *newest[name]) for name in sorted(newest)]
