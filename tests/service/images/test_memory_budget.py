"""Decoding needs no more memory than its limits say, whatever the file; measured from outside."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from cifar10net.errors import ImageError, ImageErrorCode
from service.config import ImageLimits
from service.images.decode import MOST_BYTES_A_PIXEL, from_encoded
from service.images.memory_budget import MemoryBudget
from tests.commands import call
from tests.service.images.decoding import growth
from tests.service.images.hostile_pictures import LARGE, SIDE, SMALL, _png

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20
PIXELS = SIDE * SIDE
BYTES_A_PIXEL = {"PNG": 12, "BMP": 12, "GIF": 12, "WebP": 16, "JPEG": 8}
_SLACK = 12 * MIB  # of the libraries themselves


def _growth(path: Path, *, copies: int = 1, threads: int = 1, max_pixels: int = PIXELS) -> tuple[int, int]:
    """Decode copies of a picture in another process; return its growth in bytes, and the failures."""
    return call(growth, path, copies, threads, max_pixels)


@pytest.mark.parametrize("name", LARGE)
def test_a_picture_at_the_limit_takes_no_more_than_its_format_may(tmp_path: Path, name: str) -> None:
    path = tmp_path / "picture"
    path.write_bytes(LARGE[name]())

    grown, errors = _growth(path)

    assert errors == 0
    assert grown <= BYTES_A_PIXEL[name.partition(",")[0]] * PIXELS + _SLACK


@pytest.mark.parametrize("make", SMALL.values(), ids=SMALL)
def test_what_comes_beside_the_pixels_is_bounded(tmp_path: Path, make: Callable[[], bytes]) -> None:
    path = tmp_path / "picture"
    path.write_bytes(make())

    grown, _ = _growth(path)

    assert grown <= 96 * MIB


def test_pictures_in_many_threads_share_the_memory_of_one_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(LARGE["PNG, one transparent colour"]())

    grown, errors = _growth(path, copies=12, threads=6)

    assert errors == 0
    assert grown <= MOST_BYTES_A_PIXEL * PIXELS + 2 * _SLACK


def test_pictures_that_break_off_leave_nothing_but_their_errors(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    whole = LARGE["PNG, 16 bits, alpha"]()
    path.write_bytes(whole[: len(whole) * 9 // 10])

    grown, errors = _growth(path, copies=12)

    assert errors == 12
    assert grown <= BYTES_A_PIXEL["PNG"] * PIXELS + _SLACK


def test_a_picture_of_many_rows_is_refused_for_what_they_cost(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(_png(8, 6, size=(1, 4_000_000)))

    with pytest.raises(ImageError, match="is 1x4000000, wanted no side above 65,535") as caught:
        from_encoded(path.read_bytes(), ImageLimits())
    grown, errors = _growth(path)

    assert caught.value.code is ImageErrorCode.TOO_LARGE
    assert errors == 1
    assert grown <= _SLACK


def test_a_small_picture_does_not_wait_for_large_ones() -> None:
    budget = MemoryBudget(1)

    with budget.reserve(1):  # all there is
        assert from_encoded(_png(8, 2, size=(64, 64)), ImageLimits(), budget).shape == (32, 32, 3)


def test_reservations_are_served_in_order_whatever_their_size() -> None:
    budget, order = MemoryBudget(10), []
    first_waits = threading.Event()

    def take(name: str, size: int) -> None:
        with budget.reserve(size):
            order.append(name)

    large = threading.Thread(target=take, args=("large", 10))
    small = threading.Thread(target=take, args=("small", 1))
    with budget.reserve(5):
        large.start()
        while not budget._turn.locked():
            first_waits.wait(0.001)
        small.start()
        small.join(0.05)
        assert small.is_alive()  # though there would be budget for it
    large.join(60)
    small.join(60)

    assert order == ["large", "small"]


def test_memory_is_released_whatever_happens() -> None:
    budget = MemoryBudget(10)

    for _ in range(3):
        with pytest.raises(ZeroDivisionError), budget.reserve(10):
            raise ZeroDivisionError

    with budget.reserve(10):
        pass
