"""Images are shifted by the given distance, and predictions for them are counted correctly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from training.compare.shifts import DIRECTIONS, DISTANCES_PX, Rate, predict_shifted, shift, stratified_sample
from training.data.dataset import Split

if TYPE_CHECKING:
    import numpy.typing as npt

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (3, 32, 32, 3), np.uint8)


def test_what_an_image_shows_is_moved_down_and_right() -> None:
    moved = shift(IMAGES, 3, 2)

    assert (moved[:, 3:, 2:] == IMAGES[:, :-3, :-2]).all()
    assert (moved[:, 2, 2:] == IMAGES[:, 1, :-2]).all()  # a mirror lies along the first row


def test_what_an_image_shows_is_moved_up_and_left() -> None:
    moved = shift(IMAGES, -4, -1)

    assert (moved[:, :-4, :-1] == IMAGES[:, 4:, 1:]).all()
    assert (moved[:, -1, :-1] == IMAGES[:, -5, 1:]).all()
    assert moved.shape == IMAGES.shape


def test_no_shift_is_the_image() -> None:
    assert (shift(IMAGES, 0, 0) == IMAGES).all()


@pytest.mark.parametrize("n", [10, 25, 99])
def test_each_class_has_its_share_of_the_chosen_images(n: int) -> None:
    labels = RANDOM.permutation(np.repeat(np.arange(10), 50))
    split = Split(np.zeros((500, 1, 1, 3), np.uint8), labels)

    chosen = stratified_sample(split, n)

    counts = np.bincount(labels[chosen], minlength=10)
    assert len(set(chosen)) == n
    assert set(counts) <= {n // 10, n // 10 + 1}
    assert (chosen == stratified_sample(split, n)).all()


def test_all_images_are_taken_if_there_are_no_more() -> None:
    split = Split(np.zeros((5, 1, 1, 3), np.uint8), np.arange(5))

    assert stratified_sample(split, 5).tolist() == stratified_sample(split, 9).tolist() == [0, 1, 2, 3, 4]


def _brightest_column(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Class 1 if the bright column is within the right half, else class 0."""
    column = images[:, :, :, 0].sum(axis=1).argmax(axis=1)
    answers: npt.NDArray[np.float32] = np.eye(2, dtype=np.float32)[(column >= 16).astype(int)]
    return answers


def test_answers_are_counted_over_images_and_directions() -> None:
    images = np.zeros((2, 32, 32, 3), np.uint8)
    images[0, :, 14] = 255  # right of the middle after two steps to the right
    images[1, :, 24] = 255  # stays within its half wherever it goes
    seen: list[int] = []

    moved = predict_shifted(_brightest_column, Split(images, np.array([0, 0])), seen.append)

    assert [each.distance_px for each in moved] == [0, *DISTANCES_PX]
    assert [each.is_unchanged.tolist() for each in moved] == [[1, 1]] * 2 + [[0.75, 1]] * 3
    assert [each.is_right.tolist() for each in moved] == [[1, 0]] * 2 + [[0.75, 0]] * 3
    assert sum(seen) == 2 * (1 + len(DISTANCES_PX) * len(DIRECTIONS))


def test_a_rate_has_the_standard_error_of_a_mean() -> None:
    rate = Rate.of(np.array([0.0, 1.0, 1.0, 0.0]))

    assert rate.mean == 0.5
    assert rate.standard_error == pytest.approx(np.sqrt(1 / 3 / 4))
