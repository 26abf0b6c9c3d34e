"""A teacher's logits are computed once, for the right images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from training.data.dataset import Split
from training.learning.teacher import teacher_logits

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt


class _Teacher:
    """Tells the left of an image from its right, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.asked += len(images)
        left, right = (images[:, :, half].mean(axis=(1, 2, 3)) + 1 for half in (slice(16), slice(16, 32)))
        answer = np.zeros((len(images), 10), np.float32)
        answer[:, 0], answer[:, 1] = left / (left + right), right / (left + right)
        return answer


@pytest.fixture
def images() -> Split:
    generator = np.random.default_rng(0)
    return Split(generator.integers(0, 256, (601, 32, 32, 3), dtype=np.uint8), generator.integers(0, 10, 601))


def test_each_image_has_its_own_answer_and_its_mirror_another(images: Split, tmp_path: Path) -> None:
    teacher, progress = _Teacher(), list[tuple[int, int]]()

    answers = teacher_logits(
        lambda: teacher, "a", images, tmp_path, lambda done, of: progress.append((done, of))
    )

    assert teacher.asked == 2 * 601
    assert progress[-1] == (601, 601)
    indices = np.array([600, 3, 3, 250])
    mirrored = np.array([False, False, True, True])
    shown = images.images[indices].copy()
    shown[mirrored] = shown[mirrored][:, :, ::-1]
    expected = np.log(np.maximum(_Teacher()(shown), 1e-12))
    assert np.allclose(answers.of(indices, mirrored), expected)
    assert np.array_equal(answers.of(indices, mirrored)[1, :2], answers.of(indices, mirrored)[2, 1::-1])


def test_a_teacher_is_asked_once_and_another_one_anew(images: Split, tmp_path: Path) -> None:
    def ask(name: str, split: Split) -> int:
        teacher = _Teacher()
        teacher_logits(lambda: teacher, name, split, tmp_path, lambda _done, _of: None)
        return teacher.asked

    assert ask("a", images) == 1202
    assert ask("a", images) == 0
    assert ask("b", images) == 1202
    assert ask("a", images[slice(100)]) == 200


def test_damaged_answers_are_asked_for_again(images: Split, tmp_path: Path) -> None:
    def ask() -> int:
        teacher = _Teacher()
        teacher_logits(lambda: teacher, "a", images, tmp_path, lambda _done, _of: None)
        return teacher.asked

    ask()
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:500])

    assert ask() == 1202
    assert ask() == 0


def test_a_teacher_whose_answers_are_kept_is_not_loaded(images: Split, tmp_path: Path) -> None:
    first = teacher_logits(_Teacher, "a", images, tmp_path, lambda _done, _of: None)

    def load() -> _Teacher:
        raise AssertionError("its answers are kept")

    again = teacher_logits(load, "a", images, tmp_path, lambda _done, _of: None)
    of = np.arange(601), np.zeros(601, bool)
    assert np.array_equal(first.of(*of), again.of(*of))
