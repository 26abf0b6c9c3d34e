"""The output appears complete, and never replaces foreign files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from training.errors import FolderError, WriteError
from training.visualize.output_folder import atomic_folder

if TYPE_CHECKING:
    from pathlib import Path


def _fill(folder: Path, name: str) -> None:
    (folder / name).write_text(name)
    (folder / "numbers.json").write_text(json.dumps({"files": [name]}))


def test_nothing_is_there_before_everything_is(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"

    with atomic_folder(out) as folder:
        _fill(folder, "a.png")
        assert not out.exists()

    assert sorted(each.name for each in out.iterdir()) == ["a.png", "numbers.json"]
    assert [each.name for each in out.parent.iterdir()] == ["out"]


def test_an_earlier_output_is_replaced_whole(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        with atomic_folder(tmp_path / "out") as folder:
            _fill(folder, name)

    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["b.png", "numbers.json"]
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_the_earlier_output(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out") as folder:
        _fill(folder, "a.png")

    def fail() -> None:
        with atomic_folder(tmp_path / "out") as folder:
            _fill(folder, "b.png")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert (tmp_path / "out" / "a.png").exists()
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()

    with atomic_folder(tmp_path / "out") as folder:
        _fill(folder, "a.png")

    assert (tmp_path / "out" / "a.png").exists()


def test_foreign_content_is_refused_and_stays(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out") as folder:
        _fill(folder, "a.png")
    (tmp_path / "out" / "thesis.tex").write_text("mine")

    with pytest.raises(
        FolderError, match=r"out holds thesis\.tex, which an earlier visualize did not write; "
    ):
        atomic_folder(tmp_path / "out").__enter__()
    with pytest.raises(FolderError, match="is a file"):
        atomic_folder(tmp_path / "out" / "thesis.tex").__enter__()

    assert (tmp_path / "out" / "thesis.tex").read_text() == "mine"
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_what_comes_meanwhile_is_not_lost(tmp_path: Path) -> None:
    def be_late() -> None:
        with atomic_folder(tmp_path / "out") as folder:
            _fill(folder, "a.png")
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "late.txt").touch()

    with pytest.raises(FolderError, match=r"holds late\.txt"):
        be_late()

    assert (tmp_path / "out" / "late.txt").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(WriteError, match=r"cannot write .*file/out"):
        atomic_folder(tmp_path / "file" / "out").__enter__()
