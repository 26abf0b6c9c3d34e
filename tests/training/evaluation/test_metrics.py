"""Accuracy follows its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.data.dataset import Split
from training.evaluation.metrics import evaluate, score


def test_a_hand_counted_example() -> None:
    labels = np.array([0, 1, 2, 2], np.int64)
    probabilities = np.zeros((4, 10), np.float32)
    probabilities[0, [0, 1, 2]] = 0.5, 0.3, 0.2  # right
    probabilities[1, [2, 1, 0]] = 0.5, 0.3, 0.2  # second
    probabilities[2, [3, 4, 5, 2]] = 0.4, 0.3, 0.2, 0.1  # fourth
    probabilities[3, [2, 0]] = 0.8, 0.2  # right
    split = Split(np.zeros((4, 32, 32, 3), np.uint8), labels)

    result = score(probabilities, split)

    assert (result.n, result.top1, result.top3) == (4, 0.5, 0.75)
    assert result.loss == pytest.approx(-sum(map(math.log, (0.5, 0.3, 0.1, 0.8))) / 4, rel=1e-6)
    assert result.confusion[2, 2] == result.confusion[2, 3] == result.confusion[1, 2] == 1
    assert result.confusion.sum() == 4
    assert result.per_class[:3].tolist() == [1.0, 0.0, 0.5]
    assert np.isnan(result.per_class[3:]).all()
    assert result.top1_standard_error == 0.25


def test_every_image_is_asked_once_and_in_order() -> None:
    images = np.zeros((1234, 32, 32, 3), np.uint8)
    images[:, 0, 0, 0] = labels = np.arange(1234) % 10
    asked = []

    def predict(batch: np.ndarray) -> np.ndarray:
        asked.append(len(batch))
        return np.asarray(np.eye(10, dtype=np.float32)[batch[:, 0, 0, 0]])

    result = evaluate(predict, Split(images, labels))

    assert sum(asked) == 1234
    assert result.top1 == 1.0


def test_a_probability_of_zero_leaves_the_loss_finite() -> None:
    split = Split(np.zeros((1, 32, 32, 3), np.uint8), np.array([3]))

    result = score(np.eye(10, dtype=np.float32)[[0]], split)

    assert math.isfinite(result.loss)
