"""Classifies a whole test set in the background, and keeps the answers.

After a failed call the evaluation stops; the next request resumes it with the images that are left.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cifar10net.errors import ClientError

if TYPE_CHECKING:
    from cifar10net.messages import ClassScore, ModelDescription
    from service.web.backend import Backend
    from service.web.test_split import LabelledImages

_TOP = 3
_BATCH = 128
_UNKNOWN = -1
_SEED = 0


class BackgroundEvaluation:
    """The evaluation of one model version on a test set."""

    def __init__(self, backend: Backend, model: ModelDescription, images: LabelledImages) -> None:
        """Prepare; ``start`` sends the first call."""
        self._backend = backend
        self.model = model
        self._images = images
        self._task: asyncio.Task[None] | None = None
        self.problem = ""
        """Why the evaluation has stopped; empty while it goes on."""
        self.truth = images.indices(model.labels)
        """(n,): true class of each image; -1 if the model does not have it."""
        self.top: list[tuple[ClassScore, ...] | None] = [None] * len(images)
        """The three most likely classes of each image, once they are known."""
        self.best = np.full(len(images), _UNKNOWN, np.int64)
        """(n,): predicted class of each image; -1 until it is known."""

    def start(self) -> None:
        """Classify all images in the background, unless that is under way."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._classify_all())

    async def stop(self) -> None:
        """Stop the background task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def classify(self, indices: list[int], *, is_bulk: bool = False) -> None:
        """Classify the given images, except those already classified. Raises ClientError."""
        unknown = [index for index in indices if self.top[index] is None]
        if not unknown:
            return
        answer = await self._backend.classify(
            self._images.pixels[unknown],
            model=self.model.name,
            version=self.model.version,
            top_k=min(_TOP, len(self.model.labels)),
            is_bulk=is_bulk,
        )
        for index, result in zip(unknown, answer.results, strict=True):
            self.top[index] = result.classes
            self.best[index] = result.best.index

    def summary(self) -> dict[str, Any]:
        """Return accuracy and confusion matrix of the images classified so far."""
        is_known = (self.best != _UNKNOWN) & (self.truth != _UNKNOWN)
        truth, best = self.truth[is_known], self.best[is_known]
        classes = len(self.model.labels)
        confusion = np.zeros((classes, classes), np.int64)
        np.add.at(confusion, (truth, best), 1)
        done, right = len(truth), int((truth == best).sum())
        accuracy = right / done if done else None
        error = math.sqrt(accuracy * (1 - accuracy) / done) if accuracy is not None else None
        return {
            "model": self.model.name,
            "version": self.model.version,
            "labels": self.model.labels,
            "done": done,
            "of": int((self.truth != _UNKNOWN).sum()),
            "right": right,
            "accuracy": accuracy,
            "standard_error": error,
            "confusion": confusion.tolist(),
            "problem": self.problem,
        }

    async def _classify_all(self) -> None:
        self.problem = ""
        # In random order: in a test set sorted by class, the first answers would all be of one class.
        order = np.random.default_rng(_SEED).permutation(len(self._images))
        indices = [int(index) for index in order if self.top[index] is None]
        try:
            for start in range(0, len(indices), _BATCH):
                await self.classify(indices[start : start + _BATCH], is_bulk=True)
        except ClientError as error:
            self.problem = str(error)
