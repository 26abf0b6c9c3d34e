"""Golden answers are few, synthetic and reproducible, with a clear best class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.export.golden import golden_answers

if TYPE_CHECKING:
    from training.evaluation.metrics import Predictor


def _favourite(classes: np.ndarray) -> Predictor:
    """Return a model that gives image ``i`` its class by 0.11 and more, the more the later it comes."""

    def predict(images: np.ndarray) -> np.ndarray:
        probabilities = np.full((len(images), 10), 0.1, np.float32)
        probabilities[np.arange(len(images)), classes[: len(images)]] += np.linspace(0.01, 0.5, len(images))
        return probabilities

    return predict


def test_the_clearest_of_different_classes_are_kept() -> None:
    classes = np.zeros(64, int)
    classes[:3] = 1, 2, 3

    golden = golden_answers(_favourite(classes))

    assert golden.probabilities.argmax(axis=1).tolist() == [0, 3, 2, 1]
    assert golden.probabilities.max(axis=1).tolist() == sorted(golden.probabilities.max(axis=1))[::-1]


def test_a_model_of_one_opinion_has_its_clearest_four() -> None:
    golden = golden_answers(_favourite(np.full(64, 7)))

    assert golden.probabilities.argmax(axis=1).tolist() == [7] * 4
    assert golden.probabilities[:, 7].min() > 0.57


def test_the_images_are_pictures_and_the_same_every_time() -> None:
    images = golden_answers(_favourite(np.arange(64) % 10)).images

    assert images.shape == (4, 32, 32, 3)
    assert images.dtype == np.uint8
    assert all(len(np.unique(image)) > 30 for image in images)
    assert np.array_equal(images, golden_answers(_favourite(np.arange(64) % 10)).images)
