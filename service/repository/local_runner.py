"""Models that run in this process, without a server: for batch jobs, the page and the doctor.

A model of a repository passes the checks that a server makes before it serves it: digest, signature, labels,
golden answers and warm-up. An ``.onnx`` file outside a repository has neither digest nor golden answers.
"""

from __future__ import annotations

import re
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

from service.config import ServerConfig
from service.errors import ModelError
from service.repository.folder import MODEL_NAME, FoundVersion, scan
from service.repository.loading import Candidate, start, verify
from service.runtime.model import ModelFile, top_k_indices
from service.runtime.providers import ProviderConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from service.runtime.model import OnnxModel

BATCH = 64
"""Images a run, at most; each session is warmed up with so many."""
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_LONGEST_REASON = 300  # characters

LocalModel: TypeAlias = FoundVersion | Path
"""A version in a repository, or an ``.onnx`` file outside one."""
_Class = TypeVar("_Class")


class LocalRunner:
    """One model; as many threads can run it at a time as it has sessions."""

    def __init__(self, model: LocalModel, *, sessions: int = 1, provider: str = "cpu") -> None:
        """Load the model, check it, and warm it up.

        Args:
            model: as ``find`` returns it; a file is version 1 of the model that it is named after.
            sessions: each runs one batch at a time, in one thread.
            provider: a key of ``service.runtime.providers.PROVIDERS``.

        Raises:
            ModelError: the model is missing, damaged, or not what its manifest says.
            ProviderError: the provider is not installed, or did not become active.
        """
        root = model.parent if isinstance(model, Path) else model.folder.parent.parent
        config = ServerConfig(
            models=root, instances=sessions, max_batch=BATCH, provider=ProviderConfig(name=provider)
        )
        candidate = _read(model) if isinstance(model, Path) else verify(model, config)
        self.manifest = candidate.manifest
        self._sessions = start(candidate, config)
        self.info = self._sessions[0].info
        self._idle: SimpleQueue[OnnxModel] = SimpleQueue()
        for session in self._sessions:
            self._idle.put(session)

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Classify a batch, once a session is idle.

        Args:
            images: uint8 (n, 32, 32, 3), n from 1 to ``BATCH``.

        Returns:
            float32 (n, classes): softmax probabilities.

        Raises:
            ModelError: the run failed.
        """
        session = self._idle.get()
        try:
            return session.run(images)
        except Exception as error:  # onnxruntime's own types share no base but Exception
            reason = " ".join(str(error).split())[:_LONGEST_REASON]
            raise ModelError(f"{self.info.name} version {self.info.version} failed: {reason}") from error
        finally:
            self._idle.put(session)

    def top_classes(
        self, images: npt.NDArray[np.uint8], top_k: int, make: Callable[[tuple[int, str, float]], _Class]
    ) -> list[tuple[_Class, ...]]:
        """Return the most likely classes of each image, best first.

        Args:
            images: as for ``run``.
            top_k: classes per image.
            make: makes a result from the index, label and probability of a class.

        Raises:
            ModelError: the run failed.
        """
        probabilities = self.run(images)
        order = top_k_indices(probabilities, top_k)
        best = np.take_along_axis(probabilities, order, axis=1).tolist()
        label = self.info.labels.__getitem__
        return [
            tuple(map(make, zip(indices, map(label, indices), values, strict=True)))
            for indices, values in zip(order.tolist(), best, strict=True)
        ]

    def close(self) -> None:
        """Free the sessions once their current runs end; do not run it again."""
        for session in self._sessions:
            session.close()


def find(path: Path, version: str = "") -> LocalModel:
    """Find the model that a path means.

    Args:
        path: an ``.onnx`` file, or the folder of a model or of one of its versions.
        version: of a model's folder; empty is the newest.

    Raises:
        ModelError: there is no such model or version.
    """
    place = path.resolve()
    if place.is_file() and not (place.name == MODEL_NAME and _VERSION.fullmatch(place.parent.name)):
        return path
    folder = place.parent if place.is_file() else place
    if _VERSION.fullmatch(folder.name):
        folder, version = folder.parent, folder.name
    if not folder.is_dir():
        raise ModelError(f"no model at {path}: there is neither such a file nor such a folder")
    versions = scan(folder.parent).get(folder.name)
    if not versions:
        raise ModelError(
            f"{path} has no model: wanted an .onnx file, or a folder with <version>/{MODEL_NAME}"
        )
    if version and (not version.isdecimal() or int(version) not in versions):
        raise ModelError(f"{path} has no version {version}; it has: {', '.join(map(str, sorted(versions)))}")
    return versions[int(version) if version else max(versions)]


def find_all(path: Path) -> list[LocalModel]:
    """Find the newest version of each model in a repository; any other path means one model, as in ``find``.

    Raises:
        ModelError: there is no such model.
    """
    is_repository = (
        path.is_dir()
        and not path.name.isdecimal()
        and not any(each.name.isdecimal() for each in path.iterdir())
    )
    if not is_repository:
        return [find(path)]
    return [find(path / name) for name in scan(path)]


def _read(path: Path) -> Candidate:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    return Candidate(ModelFile(path, path.stem, 1, content), manifest=None)
