"""A file appears whole or not at all."""

from __future__ import annotations

import resource
import signal
from typing import TYPE_CHECKING

import pytest

from training.atomic_files import replacing, write_text
from training.errors import WriteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def full_disk() -> Iterator[int]:
    """Let this process write files of 64 KiB at most: the kernel refuses the rest, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, limits[1]))
    yield 65_536
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, full_disk: int) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")

    with pytest.raises(WriteError, match=r"cannot write .*model\.onnx"), replacing(path) as file:
        file.write(bytes(full_disk + 1))

    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


def test_an_error_in_the_block_leaves_nothing(tmp_path: Path) -> None:
    def write_half() -> None:
        with replacing(tmp_path / "new") as file:
            file.write(b"half")
            raise ValueError("meanwhile")

    with pytest.raises(ValueError, match="meanwhile"):
        write_half()

    assert list(tmp_path.iterdir()) == []


def test_who_reads_the_old_file_is_not_disturbed(tmp_path: Path) -> None:
    write_text(tmp_path / "metrics.jsonl", "old")

    with (tmp_path / "metrics.jsonl").open() as reader:
        write_text(tmp_path / "metrics.jsonl", "new")
        assert reader.read() == "old"

    assert (tmp_path / "metrics.jsonl").read_text() == "new"


def test_folders_are_made_and_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "card.md", "80 % — gut")

    assert (tmp_path / "a" / "b" / "card.md").read_bytes() == "80 % — gut".encode()
