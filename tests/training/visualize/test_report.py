"""Every kind of network gets the figures that apply to it, and a reason for those that do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.training.visualize.nets import Recurrent, small_chain, small_matrix, small_resnet
from tests.training.visualize.test_html_page import Page
from training.evaluation.metrics import torch_predictor
from training.visualize.examples import choose_examples
from training.visualize.report import write_report
from training.visualize.report_builder import ImageSelection
from training.visualize.trained_model import TrainedModel

if TYPE_CHECKING:
    from torch import nn

    from training.data.dataset import Split
    from training.visualize.html_page import Report

ALWAYS = {"confusion.png", "calibration.png", "mistakes.png", "attribution.png"}


class RecordedProgress:
    """Records the progress."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.images: list[tuple[int, int]] = []

    def on_step(self, number: int, steps: int, what: str) -> None:
        assert number == len(self.steps) + 1
        assert steps == 7
        self.steps.append(what)

    def on_images(self, done: int, images: int) -> None:
        self.images.append((done, images))


def _make(network: nn.Module, split: Split, folder: Path, *, is_open: bool = True) -> Report:
    subject = TrainedModel(
        path=Path("made/by/hand"),
        name="net",
        runtime="PyTorch",
        predict=torch_predictor(network),
        network=network if is_open else None,
        no_network_reason="" if is_open else "its weights are not to be had",
        validation_per_class=5,
        metrics=[{"epoch": 1, "loss": 2.0, "validation_loss": 2.1, "validation_top1": 0.3}],
    )
    # Every tenth image, to see that numbers of the whole split are told.
    indices = np.arange(0, len(split), 10)
    looked = ImageSelection("images of colours", split[indices], indices, choose_examples(split, ["3"]))
    progress = RecordedProgress()
    report = write_report(subject, looked, None, folder, progress)
    assert len(progress.steps) == 7
    assert (len(indices), len(indices)) in progress.images
    return report


def _written(folder: Path) -> set[str]:
    names = {each.name for each in folder.iterdir()} - {"report.html", "numbers.json"}
    for name in names:
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 200
            assert max(picture.size) < 4_000
    return names


@pytest.fixture(scope="module")
def chain(test_split: Split, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    """Return the report of a chain and its folder."""
    folder = tmp_path_factory.mktemp("chain")
    return _make(small_chain(), test_split, folder), folder


def test_a_chain_gets_everything(chain: tuple[Report, Path]) -> None:
    report, folder = chain

    layers, kinds = ("pool1", "pool2"), ("patches", "images")
    assert _written(folder) == ALWAYS | {
        "curves.png",
        "filters-conv1.png",
        "kernels-conv2.png",
        "features-1.png",
        *(f"excitation-{layer}-{kind}.png" for layer in layers for kind in kinds),
        "deconvolution-conv2.png",
    }
    assert report.absent == []
    page = Page((folder / "report.html").read_text())
    for picture in report.figures:
        assert picture.file in page.words
        assert len(picture.alt) > 20
        assert len(picture.caption) > 20


def test_numbers_tell_what_the_pictures_show(chain: tuple[Report, Path]) -> None:
    _, folder = chain

    numbers = json.loads((folder / "numbers.json").read_text())
    assert numbers["answers"]["images"] == 100
    assert sum(map(sum, numbers["answers"]["confusion"])) == 100
    assert 0 <= numbers["calibration"]["expected_error"] <= 1
    assert sum(numbers["calibration"]["counts"]) == 100
    assert set(numbers["files"]) == _written(folder) | {"report.html"}
    pool = numbers["excitation"]["pool2"]
    assert pool["receptive_field"] == [12, 12]
    assert {image % 10 for strip in pool["images"] for image in strip} == {0}  # numbers of the whole split
    assert {each["index"] % 10 for each in numbers["mistakes"]} == {0}


@pytest.mark.slow
def test_blocks_get_all_but_the_deconvolution_and_are_told_why(test_split: Split, tmp_path: Path) -> None:
    report = _make(small_resnet(), test_split, tmp_path)

    assert {"filters-stem.png", "features-1.png", "excitation-pool-patches.png"} <= _written(tmp_path)
    assert {"kernels-block1-conv1.png", "kernels-group-second-conv2.png"} <= _written(tmp_path)
    ((what, why),) = report.absent
    assert what == "Deconvolution"
    assert "within a block" in why


@pytest.mark.parametrize(
    ("network", "pictures", "absent"),
    [
        (
            small_matrix(),
            {"filters-fc1.png", "features-1.png"},
            {"Deeper kernels", "What excites channels", "Deconvolution"},
        ),
        (
            Recurrent(),
            {"features-1.png"},
            {"Filters in colour", "Deeper kernels", "What excites channels", "Deconvolution"},
        ),
    ],
    ids=["matrix", "recurrent"],
)
def test_without_convolution_the_report_says_what_does_not_apply(
    test_split: Split, tmp_path: Path, network: nn.Module, pictures: set[str], absent: set[str]
) -> None:
    report = _make(network, test_split, tmp_path)

    assert _written(tmp_path) == ALWAYS | {"curves.png"} | pictures
    assert {what for what, _ in report.absent} == absent
    assert dict(report.absent)["Deconvolution"] == "net has no convolution"


def test_of_answers_alone_there_are_still_pictures(test_split: Split, tmp_path: Path) -> None:
    report = _make(small_chain(), test_split, tmp_path, is_open=False)

    assert _written(tmp_path) == ALWAYS | {"curves.png"}
    assert {why for _, why in report.absent} == {"its weights are not to be had"}
