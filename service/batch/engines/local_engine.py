"""Classifies in this process, by ONNX Runtime.

In: a model's file or folder, and items. Out: rows. Each thread takes a batch from reading to probabilities
with a session of its own, so that one decodes while another runs the model, whatever the two take. Knows
nothing of where items come from and where rows go.
"""

from __future__ import annotations

import re
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from cifar10net.errors import ImageError
from cifar10net.protocol import IMAGE_SIDE
from service.batch.engines.engine import Subject
from service.batch.row import Row, Score
from service.config import ImageLimits, ServerConfig
from service.errors import JobError, ModelError, StartupError
from service.images.decode import decoding_budget, disable_pillow_pixel_limit, from_encoded
from service.repository.folder import MODEL_NAME, scan
from service.repository.loading import Candidate, load, start
from service.runtime.model import ModelFile, likeliest
from service.runtime.providers import ProviderConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    import numpy.typing as npt

    from service.batch.item import Item
    from service.repository.folder import FoundVersion
    from service.runtime.model import OnnxModel

BATCH = 64
_MOST_HELD_BYTES = 16 << 20
_READ_BYTES = 256 << 10
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


class LocalEngine:
    """Runs a model in as many threads as it has sessions."""

    def __init__(self, path: str, version: str, threads: int, provider: str = "cpu") -> None:
        """Load the model, check it, and warm it up.

        Args:
            path: an ``.onnx`` file, or the folder of a model or of one of its versions.
            version: of a model's folder; empty is the newest.
            threads: batches at a time.
            provider: what runs it, a key of ``service.runtime.providers.PROVIDERS``.

        Raises:
            JobError: there is no such model, or it is damaged.
        """
        try:
            self.models = _load(Path(path), version, threads, provider)
        except StartupError as error:
            raise JobError(str(error)) from error
        disable_pillow_pixel_limit()
        self._limits = ImageLimits()
        self._memory_budget = decoding_budget(self._limits)
        self._idle: SimpleQueue[OnnxModel] = SimpleQueue()
        for model in self.models:
            self._idle.put(model)

    def subject(self) -> Subject:
        info = self.models[0].info
        return Subject(info.name, str(info.version), info.labels, f"sha256 {info.sha256}")

    def classify(self, items: Iterable[Item], top_k: int) -> Iterator[Row]:
        if len(self.models) == 1:
            for batch in _batches(items):
                yield from self._classify(self.models[0], batch, top_k)
            return
        with ThreadPoolExecutor(len(self.models), thread_name_prefix="classify") as pool:
            running: deque[Future[list[Row]]] = deque()
            batches = _Until(_batches(items))
            try:
                for batch in batches:
                    running.append(pool.submit(self._classify_idle, batch, top_k))
                    if len(running) > len(self.models):
                        yield from running.popleft().result()
                while running:
                    yield from running.popleft().result()
                batches.check()
            finally:
                for future in running:
                    future.cancel()

    def _classify_idle(self, batch: list[Item], top_k: int) -> list[Row]:
        model = self._idle.get()
        try:
            return self._classify(model, batch, top_k)
        finally:
            self._idle.put(model)

    def _classify(self, model: OnnxModel, batch: list[Item], top_k: int) -> list[Row]:
        images = np.empty((len(batch), IMAGE_SIDE, IMAGE_SIDE, 3), np.uint8)
        errors: dict[int, ImageError] = {}
        good = 0
        for index, data in _read(batch, errors):
            try:
                images[good] = from_encoded(data, self._limits, self._memory_budget)
                good += 1
            except ImageError as error:
                errors[index] = error
        scores = iter(_best(model, images[:good], top_k, batch) if good else ())
        name, version = model.info.name, str(model.info.version)
        return [
            Row(item.source, next(scores), name, version, "", "", _label(item))
            if index not in errors
            else _refused(item, errors[index], name, version)
            for index, item in enumerate(batch)
        ]


class _Until:
    """Batches until their source is damaged; what came before is to be answered first."""

    def __init__(self, batches: Iterator[list[Item]]) -> None:
        self._batches = batches
        self._problem: JobError | None = None

    def __iter__(self) -> Iterator[list[Item]]:
        try:
            yield from self._batches
        except JobError as error:
            self._problem = error

    def check(self) -> None:
        """Raise the JobError that has ended them, if one has."""
        if self._problem is not None:
            raise self._problem


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Cut a stream into batches, smaller ones where their files are in memory and large."""
    batch: list[Item] = []
    held = 0
    try:
        for item in items:
            batch.append(item)
            held += item.held_bytes
            if len(batch) == BATCH or held > _MOST_HELD_BYTES:
                yield batch
                batch, held = [], 0
    except JobError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _read(batch: list[Item], errors: dict[int, ImageError]) -> Iterator[tuple[int, bytes]]:
    """Read a batch's files, small ones some at a time.

    That is faster than reading each between the decoding of two others.
    """
    read: list[tuple[int, bytes]] = []
    held = 0
    for index, item in enumerate(batch):
        try:
            data = item.read()
        except ImageError as error:
            errors[index] = error
            continue
        read.append((index, data))
        held += len(data)
        if held > _READ_BYTES:
            yield from read
            read, held = [], 0
    yield from read


def _best(
    model: OnnxModel, images: npt.NDArray[np.uint8], top_k: int, batch: list[Item]
) -> list[tuple[Score, ...]]:
    """Of each image the likeliest classes."""
    try:
        answers = model.run(images)
    except Exception as error:  # onnxruntime's own types share no base but Exception
        raise JobError(
            f"{model.info.name} version {model.info.version} failed between {batch[0].source} and "
            f"{batch[-1].source}: {' '.join(str(error).split())[:300]}"
        ) from error
    order = likeliest(answers, top_k)
    best = np.take_along_axis(answers, order, axis=1).tolist()
    labels = model.info.labels
    score = partial(tuple.__new__, Score)  # what Score() does, in half the time
    return [
        tuple(map(score, zip(places, map(labels.__getitem__, places), values, strict=True)))
        for places, values in zip(order.tolist(), best, strict=True)
    ]


def _refused(item: Item, error: ImageError, name: str, version: str) -> Row:
    return Row(item.source, (), name, version, error.code.name, error.message, _label(item))


def _label(item: Item) -> str | None:
    return None if item.label is None else str(item.label)


def _load(path: Path, version: str, threads: int, provider: str) -> tuple[OnnxModel, ...]:
    """Load a file or a folder as a server would. Raises ModelError, ProviderError."""
    found = _find(path, version)
    if found is not None:
        return load(found, _config(found.folder.parent.parent, threads, provider))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    file = ModelFile(path, path.stem, 1, content)
    return start(Candidate(file, None), _config(path.parent, threads, provider))


def _config(root: Path, threads: int, provider: str) -> ServerConfig:
    return ServerConfig(
        models=root, threads=1, instances=threads, max_batch=BATCH, provider=ProviderConfig(name=provider)
    )


def _find(path: Path, version: str) -> FoundVersion | None:
    """Find the version of a repository that is meant; None if it is a file of its own."""
    place = path.resolve()
    if place.is_file() and not (place.name == MODEL_NAME and _VERSION.fullmatch(place.parent.name)):
        return None
    folder = place.parent if place.is_file() else place
    if _VERSION.fullmatch(folder.name):
        folder, version = folder.parent, folder.name
    if not folder.is_dir():
        raise ModelError(f"no model at {path}: there is neither such a file nor such a folder")
    there = scan(folder.parent).get(folder.name)
    if not there:
        raise ModelError(
            f"{path} has no model: wanted an .onnx file, or a folder with <version>/{MODEL_NAME}"
        )
    if version and (not version.isdecimal() or int(version) not in there):
        raise ModelError(f"{path} has no version {version}; it has: {', '.join(map(str, sorted(there)))}")
    return there[int(version) if version else max(there)]
