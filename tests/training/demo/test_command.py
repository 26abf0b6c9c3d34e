"""``cifar10net-train demo`` prints its numbers, saves a picture, and answers bad input with one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from training.cli import cli
from training.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path


def _demo(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["demo", *map(str, arguments)])


def _refusal(*arguments: object) -> str:
    error = _demo(*arguments).exception
    assert isinstance(error, TrainingError)
    assert "\n" not in str(error)
    return str(error)


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a picture of 960x640 pixels, of which a third is white."""
    path = tmp_path_factory.mktemp("pictures") / "photograph.png"
    coarse = np.random.default_rng(0).integers(0, 200, (80, 120, 3), np.uint8)
    coarse[:, 80:] = 255
    Image.fromarray(coarse).resize((960, 640), Image.Resampling.BICUBIC).save(path)
    return path


def _colours(path: Path) -> int:
    with Image.open(path) as image:
        return len(image.convert("RGB").getcolors(1 << 24) or [])


def test_conv1d_prints_every_product_and_draws_them(tmp_path: Path) -> None:
    done = _demo("conv1d", "--out", tmp_path / "edges.png")

    assert done.exit_code == 0
    assert "padded, 6 values: 1, 8, 8, 8, 2, 0" in done.output
    assert "stride 2: (6 - 2) // 2 + 1 = 3 places, 2 channels" in done.output
    assert "  values 3 and 4: +1*8 -1*2 = 6, after ReLU 6" in done.output
    assert "an edge between two windows is missed: at 3" in done.output
    assert _colours(tmp_path / "edges.png") > 10


def test_conv1d_takes_another_signal(tmp_path: Path) -> None:
    done = _demo("conv1d", "--signal", "0,9", "--stride", 1, "--padding", 0, "--out", tmp_path / "edges.png")

    assert done.exit_code == 0
    assert "values 0 and 1: -1*0 +1*9 = 9, after ReLU 9" in done.output


def test_template_finds_the_face_and_says_where(tmp_path: Path) -> None:
    done = _demo("template", "--out", tmp_path / "face.png")

    assert done.exit_code == 0
    assert "its peak is where the filter was cut." in " ".join(done.output.split())
    assert "so bright places score high whatever they show: its peak is" in " ".join(done.output.split())
    assert _colours(tmp_path / "face.png") > 100


def test_template_takes_a_picture_and_a_box_in_its_own_pixels(photograph: Path, tmp_path: Path) -> None:
    done = _demo("template", "--image", photograph, "--box", "150,300,60,45", "--out", tmp_path / "out.png")

    assert done.exit_code == 0
    assert "a picture of 640x427 pixels, a filter of 40x30 cut at x 100, y 200" in " ".join(
        done.output.split()
    )
    assert "its peak is where the filter was cut." in " ".join(done.output.split())


def test_bad_input_is_one_sentence(photograph: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    out = ("--out", tmp_path / "out.png")

    assert _refusal("conv1d", "--stride", 0, *out).startswith("the stride is 0, wanted 1 or more")
    assert _refusal("conv1d", "--signal", "1,x", *out).startswith("the signal is '1,x', wanted numbers")
    assert "face 37, wanted 1 to 36" in _refusal("template", "--face", 37, *out)
    template = ("template", *out, "--image")
    assert "is not a readable picture" in _refusal(*template, text, "--box", "1,1,9,9")
    assert "is not a readable picture" in _refusal(*template, tmp_path / "absent.png", "--box", "1,1,9,9")
    assert "is not a readable picture" in _refusal(*template, tmp_path, "--box", "1,1,9,9")
    assert "wanted x,y,w,h" in _refusal(*template, photograph, "--box", "1,1,9")
    assert "outside of the picture, which has 960x640 pixels" in _refusal(
        *template, photograph, "--box", "900,0,100,40"
    )
    assert "one grey value only" in _refusal(*template, photograph, "--box", "800,100,60,60")
    assert not (tmp_path / "out.png").exists()


def test_a_picture_and_a_box_go_together(photograph: Path) -> None:
    assert "--image needs --box" in _demo("template", "--image", photograph).output
    assert "--box needs --image" in _demo("template", "--box", "1,1,9,9").output
