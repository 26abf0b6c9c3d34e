"""Figures become files, and the process keeps its matplotlib settings."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from training.errors import MissingPackageError, WriteError
from training.plotting import DOTS_PER_INCH, MARKERS, PALETTE, figure, picture, png

if TYPE_CHECKING:
    from pathlib import Path


def test_a_picture_has_the_size_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "new" / "line.png"

    with picture(path, 3, 2) as drawn:
        drawn.subplots().plot([0, 1], [0, 1])

    with Image.open(path) as image:
        assert image.size == (3 * DOTS_PER_INCH, 2 * DOTS_PER_INCH)
    assert [file.name for file in path.parent.iterdir()] == ["line.png"]


def test_the_same_drawing_gives_the_same_bytes() -> None:
    with figure(2, 2) as first, figure(2, 2) as second:
        for drawn in (first, second):
            drawn.subplots().plot([0, 1], [1, 0])

        assert png(first) == png(second)


def test_a_drawing_that_fails_leaves_the_old_picture(tmp_path: Path) -> None:
    path = tmp_path / "old.png"
    path.write_bytes(b"old")

    with pytest.raises(ZeroDivisionError), picture(path, 2, 2):
        raise ZeroDivisionError

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with (
        pytest.raises(WriteError, match=r"cannot write .*line\.png"),
        picture(tmp_path / "file/line.png", 2, 2),
    ):
        pass


def test_drawing_changes_neither_settings_nor_backend_and_needs_no_pyplot() -> None:
    program = """
import sys
import training.plotting
assert "matplotlib" not in sys.modules, "loaded before anybody draws"
import matplotlib
matplotlib.rcParams["font.size"] = 31
before = matplotlib.rcParams.copy()  # not dict(), which looks for a backend
with training.plotting.figure(2, 2) as drawn:
    assert matplotlib.rcParams["font.size"] == 10
    drawn.subplots()
    training.plotting.png(drawn)
assert matplotlib.rcParams.copy() == before
assert "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)

    with pytest.raises(MissingPackageError, match=r"needs matplotlib.*\[train\]"), figure(2, 2):
        pass


def test_each_colour_has_a_marker() -> None:
    assert len(set(PALETTE)) == len(set(MARKERS)) == len(PALETTE) == len(MARKERS)
