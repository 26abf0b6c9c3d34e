"""Correlation is what torch.nn.functional.conv2d computes, and finds what was cut where it was cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from training.demo.synthetic_crowd import HEIGHT, WIDTH, draw_crowd
from training.demo.template_matching import Box, correlate, correlate_normalised, find_peaks
from training.errors import TrainingError

RANDOM = np.random.default_rng(0)
PICTURE = RANDOM.uniform(0, 1, (40, 60))
BOX = Box(x=31, y=12, width=9, height=7)


def test_plain_correlation_is_what_torch_computes() -> None:
    weights = BOX.cut(PICTURE)

    ours = correlate(PICTURE, weights)

    theirs = functional.conv2d(torch.from_numpy(PICTURE)[None, None], torch.from_numpy(weights)[None, None])
    assert np.abs(ours - theirs[0, 0].numpy()).max() < 1e-10


def test_normalised_correlation_is_pearsons_of_every_window() -> None:
    weights = BOX.cut(PICTURE)

    ours = correlate_normalised(PICTURE, weights)

    windows = functional.unfold(torch.from_numpy(PICTURE)[None, None], weights.shape)[0].T
    together = torch.cat([torch.from_numpy(weights).reshape(1, -1), windows])
    expected = torch.corrcoef(together)[0, 1:].reshape(ours.shape)
    assert np.abs(ours - expected.numpy()).max() < 1e-9


def test_the_peak_is_where_the_filter_was_cut() -> None:
    (peak,) = find_peaks(correlate_normalised(PICTURE, BOX.cut(PICTURE)), (7, 9), 1)

    assert (peak.x, peak.y) == (BOX.x, BOX.y)
    assert peak.value == pytest.approx(1)


def test_brightness_and_contrast_change_nothing() -> None:
    weights = BOX.cut(PICTURE)

    paler = correlate_normalised(PICTURE * 0.3 + 0.5, weights)

    assert np.abs(paler - correlate_normalised(PICTURE, weights)).max() < 1e-9


def test_a_window_without_contrast_fits_nothing() -> None:
    picture = PICTURE.copy()
    picture[:, :20] = 1.0

    scores = correlate_normalised(picture, BOX.cut(picture))

    assert (scores[:, :12] == 0).all()
    assert np.abs(scores).max() <= 1 + 1e-9


def test_faces_of_the_crowd_are_found_and_plain_correlation_finds_the_light() -> None:
    picture, boxes = draw_crowd(1)

    assert picture.shape == (HEIGHT, WIDTH)
    for box in (boxes[0], boxes[25]):
        weights = box.cut(picture)
        best, second = find_peaks(correlate_normalised(picture, weights), weights.shape, 2)
        (brightest,) = find_peaks(correlate(picture, weights), weights.shape, 1)
        assert (best.x, best.y) == (box.x, box.y)
        assert second.value < 0.99
        assert Box(brightest.x, brightest.y, box.width, box.height).cut(picture).mean() > 0.95
        assert math.hypot(brightest.x - box.x, brightest.y - box.y) > 20


def test_the_same_seed_draws_the_same_crowd() -> None:
    assert np.array_equal(draw_crowd(3)[0], draw_crowd(3)[0])
    assert not np.array_equal(draw_crowd(3)[0], draw_crowd(4)[0])


def test_peaks_keep_their_distance() -> None:
    scores = np.zeros((20, 20))
    scores[5, 5], scores[5, 6], scores[15, 15] = 3, 2, 1

    found = find_peaks(scores, (8, 8), 2)

    assert [(peak.x, peak.y, peak.value) for peak in found] == [(5, 5, 3), (15, 15, 1)]


def test_there_are_no_more_peaks_than_places() -> None:
    assert len(find_peaks(np.zeros((3, 3)), (8, 8), 5)) == 1


@pytest.mark.parametrize(
    "box", [Box(-1, 0, 5, 5), Box(0, -1, 5, 5), Box(56, 0, 5, 5), Box(0, 36, 5, 5), Box(0, 0, 61, 5)]
)
def test_a_box_outside_of_the_picture_is_refused(box: Box) -> None:
    with pytest.raises(TrainingError, match=r"outside of the picture, which has 60x40 pixels$"):
        box.cut(PICTURE)


def test_a_box_that_shows_nothing_is_refused() -> None:
    with pytest.raises(TrainingError, match="the box is 1x5 pixels, wanted 2x2 or more"):
        Box(0, 0, 1, 5).cut(PICTURE)
    with pytest.raises(TrainingError, match="one grey value only"):
        correlate_normalised(PICTURE, np.full((3, 3), 0.5))
