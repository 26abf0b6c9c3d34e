"""What a model says of a whole test set, found out in the background and kept.

In: a test set, and who answers. Out: the three likeliest classes of every image that was asked so far. Goes
on where it was, when a server that went away is asked again.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cifar10net.errors import ClientError

if TYPE_CHECKING:
    from cifar10net.messages import ClassScore, ImageResult, ModelDescription
    from service.web.backend import Answers
    from service.web.test_split import LabelledImages

TOP = 3
_BATCH = 128
_NOTHING = -1
_SEED = 0


class Assessment:
    """Of one version of a model."""

    def __init__(self, answers: Answers, model: ModelDescription, images: LabelledImages) -> None:
        """Prepare; nothing is asked yet."""
        self._answers = answers
        self._model = model
        self._images = images
        self._task: asyncio.Task[None] | None = None
        self.problem = ""
        """Why it does not go on; empty if it does."""
        self.truth = images.indices(model.labels)
        """(n,): which class each image shows."""
        self.top: list[tuple[ClassScore, ...] | None] = [None] * len(images)
        self.best = np.full(len(images), _NOTHING, np.int64)
        """(n,): the likeliest class of each image; -1 if it was not asked yet."""

    def begin(self) -> None:
        """Have all images asked in the background, if they are not being asked already."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._ask_all())

    async def stop(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def ask(self, indices: list[int], *, is_bulk: bool = False) -> None:
        """Ask of some images, unless they were asked already. Raises ClientError."""
        unknown = [index for index in indices if self.top[index] is None]
        if not unknown:
            return
        answer = await self._answers.classify(
            self._images.pixels[unknown],
            model=self._model.name,
            version=self._model.version,
            top_k=min(TOP, len(self._model.labels)),
            is_bulk=is_bulk,
        )
        for index, result in zip(unknown, answer.results, strict=True):
            self._keep(index, result)

    def summary(self) -> dict[str, Any]:
        """Say how often the answers so far are right."""
        is_known = (self.best != _NOTHING) & (self.truth != _NOTHING)
        truth, best = self.truth[is_known], self.best[is_known]
        classes = len(self._model.labels)
        confusion = np.zeros((classes, classes), np.int64)
        np.add.at(confusion, (truth, best), 1)
        done, right = len(truth), int((truth == best).sum())
        accuracy = right / done if done else None
        error = math.sqrt(accuracy * (1 - accuracy) / done) if accuracy is not None else None
        return {
            "model": self._model.name,
            "version": self._model.version,
            "labels": self._model.labels,
            "done": done,
            "of": int((self.truth != _NOTHING).sum()),
            "right": right,
            "accuracy": accuracy,
            "standard_error": error,
            "confusion": confusion.tolist(),
            "problem": self.problem,
        }

    def _keep(self, index: int, result: ImageResult) -> None:
        self.top[index] = result.classes
        self.best[index] = result.best.index

    async def _ask_all(self) -> None:
        self.problem = ""
        # In a drawn order: a test set that is sorted by class would begin with the rate of one of them.
        drawn = np.random.default_rng(_SEED).permutation(len(self._images))
        indices = [int(index) for index in drawn if self.top[index] is None]
        try:
            for start in range(0, len(indices), _BATCH):
                await self.ask(indices[start : start + _BATCH], is_bulk=True)
        except ClientError as error:
            self.problem = str(error)
