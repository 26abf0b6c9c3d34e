"""Backend that runs the models in this process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import structlog

from cifar10net.errors import ClientError
from cifar10net.messages import ClassScore, ImageResult, ModelDescription
from service.errors import JobError, ModelError, StartupError
from service.observability.timing import clock
from service.repository.local_runner import BATCH, LocalRunner, find_all
from service.web.backend import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

_MS = 1_000
_DEFAULT = "cifar10net"
_log = structlog.get_logger(__name__)


class LocalBackend:
    """Runs models, each one batch at a time, so that callers take turns between batches."""

    kind = "local"

    def __init__(self, places: Iterable[str]) -> None:
        """Load the models, check them, and warm them up.

        Args:
            places: ``.onnx`` files, folders of models or of their versions, or whole repositories.

        Raises:
            JobError: a model is missing or damaged, or two have the same name and version.
        """
        places = list(places)
        self.address = ", ".join(places)
        try:
            runners = [LocalRunner(model) for place in places for model in find_all(Path(place))]
        except StartupError as error:
            raise JobError(str(error)) from error
        for runner in runners:
            if runner.info.warning:
                _log.warning("model saturates", model=runner.info.name, reason=runner.info.warning)
        runners.sort(key=lambda runner: runner.info.name != _DEFAULT)
        self._runners = {(runner.info.name, str(runner.info.version)): runner for runner in runners}
        if len(self._runners) != len(runners):
            raise JobError(f"{self.address} has two models with the same name and version")
        self._locks = {key: asyncio.Lock() for key in self._runners}

    async def models(self) -> list[ModelDescription]:
        default = next(iter(self._runners))
        return [
            ModelDescription(
                name=name,
                version=version,
                labels=runner.info.labels,
                provider=runner.info.provider,
                is_default=(name, version) == default,
                metadata=runner.info.metadata,
            )
            for (name, version), runner in self._runners.items()
        ]

    async def classify(
        self,
        images: npt.NDArray[np.uint8],
        *,
        model: str,
        version: str,
        top_k: int,
        is_bulk: bool = False,  # noqa: ARG002 - batches run in the order in which they arrive
    ) -> Answer:
        key = self._find(model, version)
        began_s = clock()
        queue_s = compute_s = 0.0
        results: list[ImageResult] = []
        for start in range(0, len(images), BATCH):
            queued_s = clock()
            async with self._locks[key]:
                run_s = clock()
                batch = images[start : start + BATCH]
                answers = await asyncio.to_thread(_run, self._runners[key], batch, top_k)
                queue_s, compute_s = queue_s + run_s - queued_s, compute_s + clock() - run_s
            results += [ImageResult(classes, None, *key) for classes in answers]
        times_s = {"queue": queue_s, "compute": compute_s, "total": clock() - began_s}
        return Answer(results, {name: _MS * time_s for name, time_s in times_s.items()})

    async def close(self) -> None:
        for runner in self._runners.values():
            runner.close()

    def _find(self, name: str, version: str) -> tuple[str, str]:
        for key in self._runners:
            if name in {"", key[0]} and version in {"", key[1]}:
                return key
        named = " ".join(filter(None, (name, version)))
        there = ", ".join(" ".join(key) for key in self._runners)
        raise ClientError(grpc.StatusCode.NOT_FOUND, f"there is no model {named[:200]!r}; there are: {there}")


def repositories(places: Iterable[str]) -> tuple[Path, ...]:
    """Return the repositories of the models at ``places``. Raises JobError if there is no such model."""
    try:
        models = [model for place in places for model in find_all(Path(place))]
    except ModelError as error:
        raise JobError(str(error)) from error
    return tuple(dict.fromkeys(each.folder.parent.parent for each in models if not isinstance(each, Path)))


def _run(runner: LocalRunner, images: npt.NDArray[np.uint8], top_k: int) -> list[tuple[ClassScore, ...]]:
    try:
        return runner.top_classes(np.ascontiguousarray(images), top_k, lambda each: ClassScore(*each))
    except ModelError as error:
        _log.exception("model failed", model=runner.info.name, version=runner.info.version)
        raise ClientError(
            grpc.StatusCode.INTERNAL, f"{runner.info.name} failed; the log has the reason"
        ) from error
