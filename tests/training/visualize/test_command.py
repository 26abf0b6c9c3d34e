"""``cifar10net-train visualize`` as a user meets it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.training.command import call

if TYPE_CHECKING:
    from pathlib import Path

    from training.learning.run import Run


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.slow
def test_a_run_becomes_a_report(finished: Run, synthetic: Path, cache: Path, tmp_path: Path) -> None:
    where = ("--model", finished.folder, "--data", synthetic, "--cache-dir", cache, "--out", tmp_path / "out")

    code, said, errors = call("visualize", *where, "--image", 3, "--layer", "pool2")

    assert (code, errors) == (0, "")
    assert "1/7 Accuracy and calibration\n" in said
    assert said.endswith(f" pictures: {tmp_path / 'out' / 'report.html'}\n")
    assert "50 images: validation split, image folder" in (tmp_path / "out" / "report.html").read_text()
    assert {each.name for each in tmp_path.iterdir()} == {"out"}
    assert (tmp_path / "out" / "deconvolution-pool2.png").exists()
    assert (tmp_path / "out" / "curves.png").exists()


@pytest.mark.slow
def test_some_test_images_take_the_place_of_an_earlier_report(
    finished: Run, synthetic: Path, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "earlier.png").touch()
    (tmp_path / "numbers.json").write_text('{"files": ["earlier.png"]}')
    where = ("--model", finished.folder, "--data", synthetic, "--cache-dir", cache, "--out", tmp_path)

    code, said, _ = call(
        "visualize", *where, "--image", 999, "--layer", "relu1", "--split", "test", "--images", 30, "--json"
    )

    told = json.loads(said)
    assert (code, told["report"]) == (0, str(tmp_path / "report.html"))
    assert all((tmp_path / name).exists() for name in told["pictures"])
    assert "30 of 1,000 images: test split" in (tmp_path / "report.html").read_text()
    assert not (tmp_path / "earlier.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "{tmp}"), "no model in"),
        (("--model", "{tmp}/none.onnx"), "no model at"),
        (("--model", "{data}/test/cat/0001.png"), "is not a readable checkpoint"),
        (
            ("--layer", "conv9"),
            "cifar10net has no layer 'conv9'; layers with feature maps: conv1, relu1, pool1, ",
        ),
        (("--layer", "fc"), "layer fc of cifar10net has no feature maps"),
        (("--image", "50"), "there is no image 50: the split has 50, counted from 0"),
        (("--image", "{tmp}/none.png"), "no picture at"),
        (("--data", "{tmp}"), "is no form of CIFAR-10"),
        (("--out", "{data}"), "holds test, which an earlier visualize did not write"),
        (("--out", "/dev/null/out"), "cannot write /dev/null/out"),
    ],
)
def test_a_failure_is_one_sentence_and_leaves_nothing(
    finished: Run,
    synthetic: Path,
    cache: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    given: dict[str, object] = {"--model": finished.folder, "--data": synthetic, "--out": tmp_path / "out"}
    filled = [each.format(tmp=tmp_path, data=synthetic) for each in arguments]
    given |= dict(zip(filled[::2], filled[1::2], strict=True))

    code, _, said = call(
        "visualize", "--cache-dir", cache, *(part for pair in given.items() for part in pair)
    )

    assert code == 1
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert message in said
    assert list(tmp_path.iterdir()) == []
