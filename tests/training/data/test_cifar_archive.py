"""The official archive and its folder are read alike, cannot run code, and are named when damaged."""

from __future__ import annotations

import os
import pickle
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from training.data.sources import open_source
from training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _write_batches(folder: Path, images: Any, labels: Any) -> None:
    """Write the official form: channel by channel, in pickles of Python 2's protocol."""
    folder.mkdir()
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    for part, name in enumerate(
        ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")
    ):
        rows = slice(part, None, 5)
        content = {b"data": planes[rows], b"labels": labels[rows].tolist(), b"batch_label": b"x"}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    content = {b"data": planes, b"labels": labels.tolist()}
    (folder / "test_batch").write_bytes(pickle.dumps(content, protocol=2))


def test_the_official_folder_and_archive_give_the_same(synthetic: Path, tmp_path: Path) -> None:
    expected_images, expected_labels = open_source(synthetic).read("test")
    _write_batches(tmp_path / "cifar-10-batches-py", expected_images, expected_labels)
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")

    for path in (tmp_path, tmp_path / "cifar-10-batches-py", archive):
        images, labels = open_source(path).read("test")
        train_images, _ = open_source(path).read("train")
        assert np.array_equal(images, expected_images)
        assert np.array_equal(labels, expected_labels)
        assert len(train_images) == len(expected_images)


class _Exploit:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return os.putenv, ("CIFAR10NET_EXPLOITED", "yes")


def test_an_archive_cannot_run_code(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": _Exploit()}))

    with pytest.raises(DataError, match=r"test_batch is not a CIFAR-10 batch .*which no batch needs"):
        open_source(folder).read("test")


def test_a_truncated_archive_is_named(synthetic: Path, tmp_path: Path) -> None:
    images, labels = open_source(synthetic).read("test")
    _write_batches(tmp_path / "batches", images, labels)
    whole = tmp_path / "whole.tar.gz"
    with tarfile.open(whole, "w:gz") as file:
        file.add(tmp_path / "batches", "cifar-10-batches-py")
    for share in (0.0, 0.001, 0.3, 0.9):
        cut = tmp_path / "cut.tar.gz"
        cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])

        with pytest.raises(DataError, match=r"cut\.tar\.gz"):
            open_source(cut).read("train")


def test_the_real_data_set_is_whole(cifar10: Path) -> None:
    images, labels = open_source(cifar10).read("test")

    assert images.shape == (10_000, 32, 32, 3)
    assert np.bincount(labels).tolist() == [1_000] * 10
