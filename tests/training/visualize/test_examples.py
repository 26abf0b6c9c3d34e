"""The images that a report shows one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from training.data.dataset import Split
from training.errors import DataError
from training.visualize.examples import choose_examples

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def split() -> Split:
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3)).astype(np.uint8)
    return Split(images, np.arange(40) % 10)


def test_by_default_they_are_of_different_classes_and_always_the_same(split: Split) -> None:
    chosen = choose_examples(split, [])

    assert len({each.label for each in chosen}) == len(chosen) == 4
    assert [each.name for each in choose_examples(split, [])] == [each.name for each in chosen]


def test_a_number_is_an_image_of_the_split(split: Split) -> None:
    (example,) = choose_examples(split, ["23"])

    assert (example.label, example.class_name) == (3, "cat")
    np.testing.assert_array_equal(example.image, split.images[23])
    with pytest.raises(DataError, match="there is no image 40: the split has 40, counted from 0"):
        choose_examples(split, ["40"])


def test_a_picture_file_is_cut_to_its_central_square(split: Split, tmp_path: Path) -> None:
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:, 32:96] = (255, 0, 0)
    Image.fromarray(picture).save(tmp_path / "wide.png")

    (example,) = choose_examples(split, [str(tmp_path / "wide.png")])

    assert (example.name, example.label, example.class_name) == ("wide.png", None, "unlabelled")
    assert example.image.shape == (32, 32, 3)
    assert (example.image[:, 2:-2] == (255, 0, 0)).all()  # reduced, the edges take a little of the black


def test_what_is_no_picture_is_named(split: Split, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")

    with pytest.raises(DataError, match=r"text\.png is not a readable picture"):
        choose_examples(split, [str(tmp_path / "text.png")])
    with pytest.raises(DataError, match=r"no picture at .*none\.png"):
        choose_examples(split, [str(tmp_path / "none.png")])
    with pytest.raises(DataError, match="is not a readable picture"):
        choose_examples(split, [str(tmp_path)])
