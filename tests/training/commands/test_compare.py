"""``cifar10net-train compare`` as a user meets it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.training.command import call
from tests.training.compare.conftest import convolutional, fully_connected
from training.compare.results import from_json

if TYPE_CHECKING:
    from pathlib import Path


def test_tables_files_and_pictures_come_from_a_repository(synthetic: Path, tmp_path: Path) -> None:
    convolutional(tmp_path / "models" / "colours" / "1" / "model.onnx")
    fully_connected(tmp_path / "models" / "pixels" / "1" / "model.onnx")
    (tmp_path / "models" / "broken" / "1").mkdir(parents=True)
    (tmp_path / "models" / "broken" / "1" / "model.onnx").write_bytes(b"broken")
    data = ("--data", synthetic, "--cache-dir", tmp_path / "cache")

    done = call(
        "compare",
        "--models",
        tmp_path / "models",
        *data,
        "--shift-images",
        40,
        "--rounds",
        2,
        "--out",
        tmp_path / "out",
    )

    assert done.code == 0
    assert re.fullmatch(r"left out broken: .*model\.onnx is not a readable ONNX model .*\n", done.stderr)
    assert "shifted images, n = 40" in done.stdout
    assert max(map(len, done.stdout.splitlines()[:20])) <= 80
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["accuracy.png", "compare.json", "compare.md", "shifts.png"]
    rows = from_json((tmp_path / "out" / "compare.json").read_text()).rows
    assert [row.name for row in rows] == ["colours", "pixels"]


def test_a_named_model_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    done = call("compare", "--model", tmp_path / "absent.onnx")

    assert done.code == 1
    assert done.stderr == f"error: no model at {tmp_path / 'absent.onnx'}: the file does not exist\n"
