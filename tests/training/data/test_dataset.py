"""Decoded pixels are cached, and the held-out validation images are always the same."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from training.data import dataset, sources
from training.data.dataset import DataSet, Split, hold_out
from training.errors import DataError, WriteError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_second_start_decodes_nothing(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = DataSet(synthetic, tmp_path).split("train")

    monkeypatch.setattr(sources, "_decode", None)
    second = DataSet(synthetic, tmp_path).split("train")

    assert np.array_equal(first.images, second.images)
    assert np.array_equal(first.labels, second.labels)


def test_changed_data_is_decoded_again(synthetic: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(synthetic, folder)
    DataSet(folder, tmp_path / "cache").split("train")

    (folder / "train" / "cat" / "0003.png").unlink()
    again = DataSet(folder, tmp_path / "cache").split("train")

    assert len(again) == 299


def test_a_damaged_cache_is_made_anew(synthetic: Path, tmp_path: Path) -> None:
    expected = DataSet(synthetic, tmp_path).split("test")
    for cached in tmp_path.iterdir():
        cached.write_bytes(cached.read_bytes()[:5000])

    found = DataSet(synthetic, tmp_path).split("test")

    assert found.digest() == expected.digest()


def test_a_cache_that_cannot_be_written_is_named(synthetic: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(WriteError, match=r"cannot write .*file"):
        DataSet(synthetic, tmp_path / "file").split("test")


def test_without_a_path_the_official_archive_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(folder: Path) -> Path:
        asked.append(folder)
        raise DataError("no network in this test")

    monkeypatch.setattr(dataset, "official_archive", download)
    with pytest.raises(DataError, match="no network"):
        DataSet(None, tmp_path)

    assert asked == [tmp_path]


def test_validation_is_the_same_for_everyone_and_apart_from_training(train_split: Split) -> None:
    kept, held = hold_out(train_split, 5)
    _, again = hold_out(train_split, 5)

    assert np.bincount(held.labels).tolist() == [5] * 10
    assert np.bincount(kept.labels).tolist() == [25] * 10
    assert held.digest() == again.digest()
    pixels = {image.tobytes() for image in kept.images}
    assert not any(image.tobytes() in pixels for image in held.images)


def test_holding_out_a_whole_class_is_refused(train_split: Split) -> None:
    with pytest.raises(DataError, match=r"class airplane has 30 training images.*30 to hold out"):
        hold_out(train_split, 30)
