"""Engine that runs a model in this process.

Each thread takes a batch from reading to probabilities with a session of its own, so that some threads decode
while others run the model, however long each step takes.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cifar10net.errors import ImageError
from cifar10net.protocol import IMAGE_SIDE
from service.batch.engines.engine import ModelIdentity, row_of
from service.batch.row import TopClass
from service.config import ImageLimits
from service.errors import JobError, ModelError, StartupError
from service.images.decode import decoding_budget, disable_pillow_pixel_limit, from_encoded
from service.repository.local_runner import BATCH, LocalRunner, find

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from service.batch.item import Item
    from service.batch.row import Row

_MOST_HELD_BYTES = 16 << 20
_READ_BYTES = 256 << 10
_top_class = partial(tuple.__new__, TopClass)  # as TopClass(*...), in half the time


class LocalEngine:
    """Runs a model in some threads."""

    def __init__(self, path: str, version: str, threads: int, provider: str = "cpu") -> None:
        """Load the model, check it, and warm it up.

        Args:
            path: an ``.onnx`` file, or the folder of a model or of one of its versions.
            version: of a model's folder; empty is the newest.
            threads: batches at a time, each with a session of its own.
            provider: a key of ``service.runtime.providers.PROVIDERS``.

        Raises:
            JobError: there is no such model, or it is damaged.
        """
        try:
            self.runner = LocalRunner(find(Path(path), version), sessions=threads, provider=provider)
        except StartupError as error:
            raise JobError(str(error)) from error
        disable_pillow_pixel_limit()
        self._threads = threads
        self._limits = ImageLimits()
        self._memory_budget = decoding_budget(self._limits)

    def model(self) -> ModelIdentity:
        info = self.runner.info
        return ModelIdentity(info.name, str(info.version), info.labels, f"sha256 {info.sha256}")

    def classify(self, items: Iterable[Item], top_k: int) -> Iterator[Row]:
        if self._threads == 1:
            for batch in _batches(items):
                yield from self._classify(batch, top_k)
            return
        with ThreadPoolExecutor(self._threads, thread_name_prefix="classify") as pool:
            running: deque[Future[list[Row]]] = deque()
            batches = _batches(items)
            source_error: JobError | None = None
            try:
                while True:
                    try:
                        batch = next(batches)
                    except StopIteration:
                        break
                    except JobError as error:  # raised once the batches before it are answered
                        source_error = error
                        break
                    running.append(pool.submit(self._classify, batch, top_k))
                    if len(running) > self._threads:
                        yield from running.popleft().result()
                while running:
                    yield from running.popleft().result()
            finally:
                for future in running:
                    future.cancel()
            if source_error is not None:
                raise source_error

    def _classify(self, batch: list[Item], top_k: int) -> list[Row]:
        images = np.empty((len(batch), IMAGE_SIDE, IMAGE_SIDE, 3), np.uint8)
        errors: dict[int, ImageError] = {}
        good = 0
        for index, data in _read(batch, errors):
            try:
                images[good] = from_encoded(data, self._limits, self._memory_budget)
                good += 1
            except ImageError as error:
                errors[index] = error.with_traceback(None)  # whose frames hold the picture
        try:
            classes = iter(self.runner.top_classes(images[:good], top_k, _top_class) if good else ())
        except ModelError as error:
            raise JobError(f"{error}; the batch was {batch[0].source} to {batch[-1].source}") from error
        name, version = self.runner.info.name, str(self.runner.info.version)
        return [
            row_of(item, name, version, error=errors[index])
            if index in errors
            else row_of(item, name, version, next(classes))
            for index, item in enumerate(batch)
        ]


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Cut a stream into batches, smaller ones where large files are in memory already."""
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
    """Read a batch's files, small ones some at a time: 5 us each in place of 10 us between two decodings."""
    read: list[tuple[int, bytes]] = []
    held = 0
    for index, item in enumerate(batch):
        try:
            data = item.read()
        except ImageError as error:
            errors[index] = error.with_traceback(None)
            continue
        read.append((index, data))
        held += len(data)
        if held > _READ_BYTES:
            yield from read
            read, held = [], 0
    yield from read
