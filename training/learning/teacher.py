"""What a bigger network says of the training images, for a smaller one to learn from.

In: a teacher and the training images. Out: its logits of each image and of its mirror image. They are
computed once and kept in a file, so that a student's step costs no more for its teacher. A student that is
shown an image shifted by a pixel or two learns from what the teacher said of it unshifted. Knows nothing of
the student.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from training.atomic_files import replacing

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from training.data.dataset import Split
    from training.evaluation.metrics import Predictor

_FORMAT = "1"
_BATCH = 250
_SMALLEST = 1e-12


OpenTeacher = Callable[[], "Predictor"]
"""Loads a teacher: uint8 (n, 32, 32, 3) to probabilities."""
OnBatch = Callable[[int, int], None]
"""Is told how many images a teacher has answered, and of how many."""


class TeacherAnswers:
    """Logits of a teacher for ``n`` images and their mirror images."""

    def __init__(self, logits: npt.NDArray[np.float32], identity: str) -> None:
        """Keep them.

        Args:
            logits: (n, 2, 10) by image, mirrored and class, each row up to a constant.
            identity: names the teacher; another one has another.
        """
        self._logits = logits
        self.identity = identity

    def of(self, indices: npt.NDArray[np.int64], mirrored: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """Return the logits (n, 10) of some of the images, mirrored or not."""
        answers: npt.NDArray[np.float32] = self._logits[indices, mirrored.astype(np.int64)]
        return answers


def teacher_answers(
    open_teacher: OpenTeacher, identity: str, images: Split, cache_dir: Path, on_batch: OnBatch
) -> TeacherAnswers:
    """Ask a teacher, or read what it said before.

    Args:
        open_teacher: is called only if the answers are not kept yet.
        identity: names it; another teacher must have another.
        images: the images its student learns from.
        cache_dir: where the answers are kept.
        on_batch: is told of the progress.

    Raises:
        WriteError: the folder cannot be written.
    """
    key = hashlib.sha256(f"{_FORMAT}\n{identity}\n{images.digest()}".encode()).hexdigest()
    path = cache_dir / f"teacher-{key[:16]}.npz"
    try:
        with path.open("rb") as kept, np.load(kept) as arrays:
            return TeacherAnswers(arrays["logits"], identity)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        path.unlink(missing_ok=True)  # damaged: it is asked again
    logits = _ask(open_teacher(), images.images, on_batch)
    with replacing(path) as file:
        np.savez(file, logits=logits)
    return TeacherAnswers(logits, identity)


def _ask(predict: Predictor, images: npt.NDArray[np.uint8], on_batch: OnBatch) -> npt.NDArray[np.float32]:
    logits = []
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        both = [predict(shown) for shown in (batch, np.ascontiguousarray(batch[:, :, ::-1]))]
        logits.append(np.log(np.maximum(np.stack(both, axis=1), _SMALLEST)))
        on_batch(start + len(batch), len(images))
    return np.concatenate(logits)
