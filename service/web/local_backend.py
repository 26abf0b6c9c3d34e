"""Has models answer that run in this process, where there is no server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import structlog

from cifar10net.errors import ClientError
from cifar10net.messages import ClassScore, ImageResult, ModelDescription
from service.batch.engines.local_engine import LocalEngine
from service.errors import JobError, ModelError
from service.observability.timing import clock
from service.repository.folder import scan
from service.runtime.model import likeliest
from service.web.backend import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from service.runtime.model import OnnxModel

_MS = 1_000
_BATCH = 64
"""Images a run, so that others have their turn between."""
_DEFAULT = "cifar10net"
_log = structlog.get_logger(__name__)


class LocalAnswers:
    """Runs models, each a batch at a time."""

    kind = "local"

    def __init__(self, places: Iterable[str]) -> None:
        """Load the models, check them, and warm them up.

        Args:
            places: ``.onnx`` files, folders of models or of their versions, or whole repositories.

        Raises:
            JobError: there is no such model, or it is damaged.
        """
        places = list(places)
        self.address = ", ".join(places)
        loaded = [LocalEngine(place, "", threads=1).models[0] for each in places for place in _models(each)]
        for model in loaded:
            if model.info.caution:
                _log.warning("model saturates", model=model.info.name, reason=model.info.caution)
        loaded.sort(key=lambda model: model.info.name != _DEFAULT)
        self._models = {(model.info.name, str(model.info.version)): model for model in loaded}
        if len(self._models) != len(loaded):
            raise JobError(f"{self.address} has two models of one name and version")
        self._turns = {key: asyncio.Lock() for key in self._models}

    async def models(self) -> list[ModelDescription]:
        default = next(iter(self._models))
        return [
            ModelDescription(
                name=name,
                version=version,
                labels=model.info.labels,
                provider=model.info.provider,
                is_default=(name, version) == default,
                metadata=model.info.metadata,
            )
            for (name, version), model in self._models.items()
        ]

    async def classify(
        self,
        images: npt.NDArray[np.uint8],
        *,
        model: str,
        version: str,
        top_k: int,
        is_bulk: bool = False,  # noqa: ARG002 - batches take turns in the order in which they come
    ) -> Answer:
        key = self._find(model, version)
        began_s = clock()
        queue_s = compute_s = 0.0
        answers = []
        for start in range(0, len(images), _BATCH):
            asked_s = clock()
            async with self._turns[key]:
                run_s = clock()
                answers.append(
                    await asyncio.to_thread(_run, self._models[key], images[start : start + _BATCH])
                )
                queue_s, compute_s = queue_s + run_s - asked_s, compute_s + clock() - run_s
        labels = self._models[key].info.labels
        times_s = {"queue": queue_s, "compute": compute_s, "total": clock() - began_s}
        return Answer(
            [ImageResult(classes, None, *key) for classes in _best(np.concatenate(answers), labels, top_k)],
            {name: _MS * time_s for name, time_s in times_s.items()},
        )

    async def close(self) -> None:
        for model in self._models.values():
            model.close()

    def _find(self, name: str, version: str) -> tuple[str, str]:
        for key in self._models:
            if name in {"", key[0]} and version in {"", key[1]}:
                return key
        named = " ".join(filter(None, (name, version)))
        there = ", ".join(" ".join(key) for key in self._models)
        raise ClientError(grpc.StatusCode.NOT_FOUND, f"there is no model {named[:200]!r}; there are: {there}")


def repositories(places: Iterable[str]) -> tuple[Path, ...]:
    """Say in which repositories such models lie, if they lie in one."""
    roots = []
    for place in places:
        path = Path(place).resolve()
        version = path.parent if path.is_file() else path
        model = version.parent if version.name.isdecimal() else version
        roots.append(path if _is_repository(path) else model.parent)
    return tuple(dict.fromkeys(roots))


def _models(place: str) -> list[str]:
    """Find the models of a repository; what is none is one model by itself."""
    path = Path(place)
    if not _is_repository(path):
        return [place]
    try:
        return [str(path / name) for name in scan(path)]
    except ModelError as error:
        raise JobError(str(error)) from error


def _is_repository(path: Path) -> bool:
    """Whether a path is a folder of models, rather than of versions or of files."""
    if not path.is_dir() or path.name.isdecimal():
        return False
    return not any(each.name.isdecimal() for each in path.iterdir())


def _run(model: OnnxModel, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    try:
        return model.run(np.ascontiguousarray(images))
    except Exception as error:  # onnxruntime's own types share no base but Exception
        _log.exception("model failed", model=model.info.name, version=model.info.version)
        raise ClientError(grpc.StatusCode.INTERNAL, f"{model.info.name} failed; the log says why") from error


def _best(
    answers: npt.NDArray[np.float32], labels: tuple[str, ...], top_k: int
) -> Iterator[tuple[ClassScore, ...]]:
    """Of each image the likeliest classes."""
    order = likeliest(answers, top_k)
    best = np.take_along_axis(answers, order, axis=1)
    for places, values in zip(order.tolist(), best.tolist(), strict=True):
        yield tuple(map(ClassScore, places, map(labels.__getitem__, places), values))
