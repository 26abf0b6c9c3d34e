"""Every form of the data set gives the same arrays, and errors name the damaged file."""

from __future__ import annotations

import os
import shutil
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from training.data.cifar10 import CLASS_NAMES
from training.data.dataset import DataSet
from training.data.sources import open_source
from training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _zip_folder(folder: Path, path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def test_a_folder_gives_pixels_and_labels_in_the_data_sets_order(synthetic: Path) -> None:
    images, labels = open_source(synthetic).read("train")

    assert images.shape == (300, 32, 32, 3)
    assert images.dtype == np.uint8
    assert labels.tolist() == [index for index in range(10) for _ in range(30)]
    first = np.asarray(Image.open(synthetic / "train" / "deer" / "0007.png"))
    assert np.array_equal(images[CLASS_NAMES.index("deer") * 30 + 7], first)


@pytest.mark.parametrize("prefix", ["", "cifar10/"])
def test_a_zip_of_the_folder_gives_the_same(synthetic: Path, tmp_path: Path, prefix: str) -> None:
    path = _zip_folder(synthetic, tmp_path / "data.zip", prefix)

    images, labels = open_source(path).read("test")

    expected_images, expected_labels = open_source(synthetic).read("test")
    assert np.array_equal(images, expected_images)
    assert np.array_equal(labels, expected_labels)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "train" / "frog"), r"no images in train/frog/"),
        (lambda folder: shutil.rmtree(folder / "train"), r"no images in train/: wanted train/<class>/"),
        (
            lambda folder: (folder / "train" / "frog").rename(folder / "train" / "toad"),
            r"train/toad/, which is none",
        ),
        (
            lambda folder: (folder / "train" / "cat" / "0001.png").write_bytes(b"\x89PNG nothing"),
            r"train/cat/0001\.png is not a readable PNG or JPEG image",
        ),
        (
            lambda folder: Image.new("RGB", (64, 48)).save(folder / "train" / "cat" / "0001.png"),
            r"train/cat/0001\.png is 64x48 pixels, wanted 32x32",
        ),
    ],
)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_bad_images_are_named(
    synthetic: Path, tmp_path: Path, damage: Callable[[Path], object], message: str, form: str
) -> None:
    path = tmp_path / "data"
    shutil.copytree(synthetic, path)
    damage(path)
    if form == "zip":
        path = _zip_folder(path, tmp_path / "data.zip")

    with pytest.raises(DataError, match=message) as caught:
        open_source(path).read("train")

    assert path.name in str(caught.value)


def test_a_truncated_zip_is_named(synthetic: Path, tmp_path: Path) -> None:
    whole = _zip_folder(synthetic, tmp_path / "whole.zip")
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole.read_bytes()[:-1000])

    with pytest.raises(DataError, match=r"cut\.zip is not a complete zip archive"):
        open_source(cut)


def test_a_damaged_member_of_a_zip_is_named(synthetic: Path, tmp_path: Path) -> None:
    path = _zip_folder(synthetic, tmp_path / "data.zip")
    content = bytearray(path.read_bytes())
    content[2000:2400] = bytes(400)
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"data\.zip"):
        open_source(path).read("test")


@pytest.mark.parametrize("name", ["missing", "empty", "text.txt"])
def test_what_is_no_data_set_says_what_is_wanted(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")

    with pytest.raises(DataError, match=rf"{name}.*(does not exist|wanted cifar-10-python\.tar\.gz)"):
        open_source(tmp_path / name)


def test_files_that_cannot_be_read_are_named(synthetic: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(synthetic, folder)
    (folder / "train" / "cat" / "0001.png").unlink()
    (folder / "train" / "cat" / "0001.png").symlink_to(tmp_path / "gone.png")

    with pytest.raises(DataError, match=r"cannot read .*0001\.png: No such file"):
        list(open_source(folder).identity())


def test_names_need_not_be_utf8(synthetic: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(synthetic, folder)
    (folder / "test/cat/0001.png").rename(folder / "test/cat" / os.fsdecode(b"\xff.png"))

    assert len(DataSet(folder, tmp_path / "cache").split("test")) == 1_000


def test_a_zip_of_two_data_sets_is_refused(synthetic: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for prefix in ("a", "b"):
            archive.write(synthetic / "train/cat/0001.png", f"{prefix}/train/cat/0001.png")

    with pytest.raises(DataError, match="several data sets: a/train, b/train; wanted one"):
        open_source(path).read("train")


def test_an_encrypted_zip_is_named(synthetic: Path, tmp_path: Path) -> None:
    path = _zip_folder(synthetic, tmp_path / "data.zip")
    content = bytearray(path.read_bytes())
    position = -1
    while (position := content.find(b"PK\x01\x02", position + 1)) >= 0:
        content[position + 8] |= 1  # the flag of encryption, in every entry of the directory
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"data\.zip is not a complete, plain zip archive .*encrypted"):
        open_source(path).read("train")


def test_a_jpeg_form_says_that_it_is_no_original(synthetic: Path, tmp_path: Path) -> None:
    shutil.copytree(synthetic, tmp_path / "data")
    Image.new("RGB", (32, 32)).save(tmp_path / "data" / "test" / "cat" / "0100.jpg")

    for path in (tmp_path / "data", _zip_folder(tmp_path / "data", tmp_path / "data.zip")):
        assert "JPEG re-encoding" in open_source(path).description()
    assert "JPEG" not in open_source(synthetic).description()
