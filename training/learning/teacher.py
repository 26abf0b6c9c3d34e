"""The teacher's logits for the training images and their mirror images, computed once and cached in a file.

A step of the student therefore costs no more with a teacher. Images that the student sees shifted have the
logits of the unshifted ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.data.array_cache import cached

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from training.data.dataset import Split
    from training.evaluation.metrics import Predictor

_FORMAT = "1"
_BATCH = 250
_SMALLEST = 1e-12

OpenTeacher = Callable[[], "Predictor"]
"""Loads a teacher."""
OnBatch = Callable[[int, int], None]
"""Called with the number of images that are done, and of all images."""


@dataclass(frozen=True)
class TeacherLogits:
    """Logits of a teacher for ``n`` images and their mirror images."""

    logits: npt.NDArray[np.float32]
    """(n, 2, 10) by image, mirrored and class, each row up to a constant."""
    identity: str
    """Unique name of the teacher: the digest of its file."""

    def of(self, indices: npt.NDArray[np.int64], mirrored: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """Return the logits (n, 10) of images, mirrored or not."""
        answers: npt.NDArray[np.float32] = self.logits[indices, mirrored.astype(np.int64)]
        return answers


def teacher_logits(
    open_teacher: OpenTeacher, identity: str, images: Split, cache_dir: Path, on_batch: OnBatch
) -> TeacherLogits:
    """Compute the logits of a teacher, or read them from the cache.

    ``open_teacher`` is called only if the logits are not cached; ``identity`` is the digest of the teacher's
    file; ``on_batch`` is called with the progress.

    Raises:
        WriteError: the cache cannot be written.
    """
    key = hashlib.sha256(f"{_FORMAT}\n{identity}\n{images.digest()}".encode()).hexdigest()
    path = cache_dir / f"teacher-{key[:16]}.npz"
    arrays = cached(path, lambda: {"logits": _predict(open_teacher(), images.images, on_batch)})
    return TeacherLogits(arrays["logits"], identity)


def _predict(predict: Predictor, images: npt.NDArray[np.uint8], on_batch: OnBatch) -> npt.NDArray[np.float32]:
    logits = []
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        both = [predict(shown) for shown in (batch, np.ascontiguousarray(batch[:, :, ::-1]))]
        logits.append(np.log(np.maximum(np.stack(both, axis=1), _SMALLEST)))
        on_batch(start + len(batch), len(images))
    return np.concatenate(logits)
