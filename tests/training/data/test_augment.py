"""Flips and shifts move pixels without changing them; cutout paints over a square."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.data.augment import (
    Views,
    alternating_flips,
    apply_views,
    choose_cutmix,
    choose_cutout,
    choose_views,
    paste,
)


def _flip_and_shift(
    images: npt.NDArray[np.uint8], generator: np.random.Generator, shift_px: int
) -> npt.NDArray[np.uint8]:
    views = choose_views(len(images), generator, shift_px)
    return apply_views(torch.from_numpy(images), np.arange(len(images)), views).numpy()


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 20), shift=st.integers(0, 4))
def test_each_image_is_a_shifted_window_of_itself_or_its_mirror(seed: int, n: int, shift: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (n, 8, 9, 3), dtype=np.uint8)
    before = images.copy()

    moved = _flip_and_shift(images, np.random.default_rng(seed), shift)

    assert moved.shape == images.shape
    assert moved.dtype == np.uint8
    assert moved.flags.c_contiguous
    assert np.array_equal(images, before)
    for image, result in zip(images, moved, strict=True):
        padded = np.pad(image, ((shift, shift), (shift, shift), (0, 0)), mode="reflect")
        windows = [
            padded[down : down + 8, right : right + 9]
            for down in range(2 * shift + 1)
            for right in range(2 * shift + 1)
        ]
        assert any(
            np.array_equal(result, window) or np.array_equal(result, window[:, ::-1]) for window in windows
        )


def test_the_same_generator_state_gives_the_same_batch() -> None:
    images = np.random.default_rng(1).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)

    first = _flip_and_shift(images, np.random.default_rng(7), 2)
    second = _flip_and_shift(images, np.random.default_rng(7), 2)
    other = _flip_and_shift(images, np.random.default_rng(8), 2)

    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_about_half_are_mirrored_and_every_shift_occurs() -> None:
    image = np.arange(32 * 32 * 3, dtype=np.int64).reshape(1, 32, 32, 3) % 251
    images = np.repeat(image.astype(np.uint8), 2000, axis=0)

    kept = _flip_and_shift(images, np.random.default_rng(0), 0)
    moved = _flip_and_shift(images, np.random.default_rng(0), 2)

    mirrored = (kept != images).any(axis=(1, 2, 3)).mean()
    assert 0.45 < mirrored < 0.55
    assert len({result.tobytes() for result in moved}) == 2 * 5 * 5


def test_a_view_is_what_it_says() -> None:
    image = np.arange(6 * 6 * 3, dtype=np.uint8).reshape(1, 6, 6, 3)
    views = Views(np.array([True]), np.array([1]), np.array([-2]))

    (seen,) = apply_views(torch.from_numpy(image), np.array([0]), views).numpy()

    # One row further down; the window two to the left, so the picture two to the right; then mirrored.
    assert np.array_equal(seen[:5, ::-1][:, 2:], image[0, 1:, :4])


def test_a_part_of_a_batch_is_seen_as_in_the_whole() -> None:
    images = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (30, 9, 8, 3), dtype=np.uint8))
    indices = np.random.default_rng(3).permutation(30)[:11]
    views = choose_views(11, np.random.default_rng(4), 7)

    whole = apply_views(images, indices, views)
    parts = [apply_views(images, indices[part], views[part]) for part in (slice(0, 5), slice(5, 11))]

    assert torch.equal(whole, torch.cat(parts))


@given(seed=st.integers(0, 2**32 - 1), hide=st.integers(0, 6))
def test_a_whole_square_of_each_image_is_painted_over_and_nothing_else(seed: int, hide: int) -> None:
    images = torch.from_numpy(np.random.default_rng(seed).integers(0, 200, (5, 6, 9, 3), dtype=np.uint8))
    views = choose_views(5, np.random.default_rng(seed), 2)
    hidden = choose_cutout(5, np.random.default_rng(seed), hide, 6, 9)
    paint = torch.tensor([201, 202, 203], dtype=torch.uint8)

    plain = apply_views(images, np.arange(5), views)
    seen = apply_views(images, np.arange(5), replace(views, hidden=hidden), paint)

    for before, after in zip(plain.numpy(), seen.numpy(), strict=True):
        painted = (after == paint.numpy()).all(axis=2)
        assert np.array_equal(after[~painted], before[~painted])
        rows, columns = np.nonzero(painted)
        assert len(rows) == hide**2
        assert set(rows) == set(range(rows.min(initial=6), rows.min(initial=6) + hide))
        assert set(columns) == set(range(columns.min(initial=9), columns.min(initial=9) + hide))


def test_squares_are_hidden_everywhere() -> None:
    hidden = choose_cutout(2_000, np.random.default_rng(0), 3, 6, 9)

    # A square of 3 has 4 places down and 7 across; the corner pixel is hidden by one of the 28.
    assert len({mask.tobytes() for mask in hidden}) == 4 * 7
    assert 0.02 < hidden[:, 0, 0].mean() < 0.055


def test_a_part_of_a_batch_hides_what_the_whole_does() -> None:
    images = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8))
    hidden = choose_cutout(9, np.random.default_rng(5), 4, 8, 8)
    views = replace(choose_views(9, np.random.default_rng(4), 1), hidden=hidden)

    whole = apply_views(images, np.arange(9), views)
    part = slice(4, 9)

    assert torch.equal(whole[part], apply_views(images, np.arange(9)[part], views[part]))


def test_two_epochs_show_every_image_both_ways() -> None:
    first = alternating_flips(1000, np.random.default_rng(0))

    assert 0.4 < first.mean() < 0.6
    for epoch in (0, 1):
        views = choose_views(1000, np.random.default_rng(epoch), 2, first ^ bool(epoch % 2))
        assert np.array_equal(views.mirrored, first if epoch == 0 else ~first)


@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1))
def test_a_patch_is_a_rectangle_of_the_lender_at_its_own_place(seed: int, share: float) -> None:
    images = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (7, 6, 9, 3), dtype=np.uint8))
    patches = choose_cutmix(7, np.random.default_rng(seed), share, 6, 9)
    lent = images[torch.from_numpy(patches.donor)]

    seen = paste(images, lent, patches.covered)

    assert sorted(patches.donor) == list(range(7))
    for covered, own, before, theirs, after in zip(
        patches.covered, patches.own, images.numpy(), lent.numpy(), seen.numpy(), strict=True
    ):
        assert np.array_equal(after[~covered], before[~covered])
        assert np.array_equal(after[covered], theirs[covered])
        rows, columns = covered.any(axis=1), covered.any(axis=0)
        assert np.array_equal(covered, rows[:, None] & columns)
        for line in (rows, columns):
            assert np.abs(np.diff(line.astype(int), prepend=0, append=0)).sum() in {0, 2}
        assert own == pytest.approx((~covered).mean(), abs=1e-6)


def test_as_many_images_get_patches_as_are_wanted_of_all_sizes() -> None:
    patches = choose_cutmix(20_000, np.random.default_rng(0), 0.25, 32, 32)

    own = patches.own[patches.own < 1]
    # A patch covers half of an image on average, less what is cut off at the border.
    assert 0.23 < len(own) / 20_000 < 0.25
    assert 0.6 < own.mean() < 0.8
    assert own.min() < 0.05
    assert own.max() > 0.99
    assert not choose_cutmix(100, np.random.default_rng(0), 0, 32, 32).covered.any()
    assert 0.1 < patches.covered[:, 0, 0].mean() / patches.covered[:, 16, 16].mean() < 0.6


def test_a_part_of_a_batch_gets_the_patches_of_the_whole() -> None:
    whole = choose_cutmix(9, np.random.default_rng(5), 1, 8, 8)

    part = whole[2:6]

    assert np.array_equal(part.donor, whole.donor[2:6])
    assert np.array_equal(part.own, whole.own[2:6])
