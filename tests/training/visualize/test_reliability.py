"""Calibration and mistakes of hand-made probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from training.visualize.reliability import calibration, confident_mistakes


def _sure(confidences: list[float], said: list[int]) -> np.ndarray:
    """Probabilities whose first class is ``said`` with this confidence; the rest is evenly_spaced evenly."""
    probabilities = np.repeat((1 - np.array(confidences, np.float32))[:, None] / 9, 10, axis=1)
    probabilities[np.arange(len(said)), said] = confidences
    return probabilities


def test_calibration_of_a_hand_counted_example() -> None:
    # Four answers of 0.75, three right; two of 0.95, one right; one of certainty, right.
    probabilities = _sure([0.75] * 4 + [0.95] * 2 + [1.0], [1, 1, 1, 2, 3, 4, 5])
    labels = np.array([1, 1, 1, 9, 3, 9, 5])

    measured = calibration(probabilities, labels, bins=10)

    assert measured.counts.tolist() == [0, 0, 0, 0, 0, 0, 0, 4, 0, 3]
    assert measured.accuracy[7] == 0.75
    assert measured.accuracy[9] == pytest.approx(2 / 3)
    assert measured.confidence[9] == pytest.approx((0.95 * 2 + 1) / 3)
    assert np.isnan(measured.accuracy[0])
    gap = (0.95 * 2 + 1) / 3 - 2 / 3
    assert measured.expected_error == pytest.approx(gap * 3 / 7, abs=1e-6)
    assert measured.bias == pytest.approx(gap * 3 / 7, abs=1e-6)
    assert measured.edges.tolist() == pytest.approx(np.linspace(0, 1, 11).tolist())


def test_perfect_calibration_has_no_error_and_modesty_a_negative_bias() -> None:
    even = calibration(_sure([0.5] * 4, [0, 0, 0, 0]), np.array([0, 0, 1, 1]))
    modest = calibration(_sure([0.5] * 4, [0, 0, 0, 0]), np.zeros(4, np.int64))

    assert (even.expected_error, even.bias) == (0, 0)
    assert (modest.expected_error, modest.bias) == (0.5, -0.5)


def test_gaps_of_opposite_sign_do_not_cancel() -> None:
    measured = calibration(_sure([0.5] * 2 + [0.9] * 2, [0] * 4), np.array([0, 0, 1, 1]))

    assert measured.expected_error == pytest.approx((0.5 + 0.9) / 2)
    assert measured.bias == pytest.approx((-0.5 + 0.9) / 2)


def test_mistakes_come_most_confident_first_and_right_answers_never() -> None:
    probabilities = _sure([0.6, 0.99, 0.9, 0.7], [1, 1, 2, 3])
    labels = np.array([5, 1, 5, 5])

    found = confident_mistakes(probabilities, labels, most=2)

    assert [(each.index, each.label, each.said) for each in found] == [(2, 5, 2), (3, 5, 3)]
    assert found[0].probability == pytest.approx(0.9)
    assert found[0].probability_of_label == pytest.approx(0.1 / 9)
    assert confident_mistakes(probabilities[1:2], labels[1:2], most=5) == []
