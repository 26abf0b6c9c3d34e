"""``cifar10net-train visualize``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from training.commands.options import cache_option, data_option
from training.commands.presentation import console, echo_object, examples, json_option
from training.data.dataset import DataSet, Split, hold_out
from training.learning.progress import ProgressBar
from training.visualize.examples import choose_examples
from training.visualize.output_folder import atomic_folder
from training.visualize.report import write_report
from training.visualize.report_builder import REPORT_NAME, ImageSelection
from training.visualize.trained_model import TrainedModel, open_trained_model

if TYPE_CHECKING:
    from collections.abc import Sequence


_SEED = 0


@click.command(
    epilog=examples(
        "cifar10net-train visualize --model exported_models/cifar10net/1/model.onnx --out pictures",
        "cifar10net-train visualize --model runs/first --out pictures --image 7 --images 200 --json",
    )
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    required=True,
    help="An .onnx file, a run folder, or its checkpoint.pt.",
)
@data_option
@cache_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for pictures and report.")
@click.option(
    "--image",
    "wanted",
    multiple=True,
    help="Image to show: its number in the split, or a picture file; repeatable. Default: four images of "
    "different classes.",
)
@click.option(
    "--layer",
    help="Layer whose channels are shown. Default: the pooling layers, and the deepest convolution.",
)
@click.option(
    "--split",
    type=click.Choice(["validation", "test"]),
    default="validation",
    help="Images to measure and search. Choices made after looking at test images are made on them.",
)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    help="Use at most this many images of the split, chosen by a fixed seed.",
)
@click.option(
    "--validation-per-class",
    type=click.IntRange(min=1),
    help="With --split validation: images of each class held out by fit. Default: as recorded in the run or "
    ".onnx.",
)
@json_option
def visualize(  # noqa: PLR0913 - click passes each option by name
    *,
    model: Path,
    data: Path | None,
    cache_dir: Path | None,
    out: Path,
    wanted: Sequence[str],
    layer: str | None,
    split: str,
    images: int | None,
    validation_per_class: int | None,
    as_json: bool,
) -> None:
    """Visualise a trained network.

    Filters, feature maps, top activations, deconvolution, attribution, confusion, calibration, mistakes and
    training curves, as PNG files and one self-contained report.html.
    """
    screen = console(stderr=as_json)
    with atomic_folder(out) as folder:
        subject = open_trained_model(model)
        subject.layer(layer)  # fails early if there is no such layer
        source = DataSet(data, cache_dir)
        if split == "test":
            whole = source.split("test")
        else:
            held_out = validation_per_class or subject.validation_per_class
            _, whole = hold_out(source.split("train"), held_out)
        screen.print(_opening(subject), soft_wrap=True)
        looked = _look(whole, split, source.description(), images, wanted)
        with _Progress(screen) as listener:
            report = write_report(subject, looked, layer, folder, listener)
    if as_json:
        told = {"pictures": [each.file for each in report.figures], "absent": dict(report.absent)}
        echo_object({"report": str(out / REPORT_NAME)} | told)
        return
    for what, why in report.absent:
        screen.print(f"not made: {what} ({why})", soft_wrap=True)
    screen.print(f"{len(report.figures)} pictures: {out / REPORT_NAME}", soft_wrap=True)


def _opening(subject: TrainedModel) -> str:
    opened = "its weights opened in PyTorch" if subject.network is not None else subject.no_network_reason
    return f"{subject.name}, {subject.path}: {opened}"


def _look(whole: Split, split: str, source: str, most: int | None, wanted: Sequence[str]) -> ImageSelection:
    indices = np.arange(len(whole))
    if most is not None and most < len(whole):
        indices = np.sort(np.random.default_rng(_SEED).choice(len(whole), most, replace=False))
    drawn = "" if len(indices) == len(whole) else f" of {len(whole):,}"
    return ImageSelection(
        description=f"{len(indices):,}{drawn} images: {split} split, {source}",
        split=whole[indices],
        indices=indices,
        examples=choose_examples(whole, wanted),
    )


class _Progress(ProgressBar):
    """Shows the steps: a bar on a terminal, a line for each step elsewhere."""

    def on_step(self, number: int, steps: int, what: str) -> None:
        """Show the name of a step."""
        line = f"{number}/{steps} {what}"
        self._bar.update(self._task, description=line, total=None, completed=0)
        if not self._console.is_terminal:
            self._console.print(line)

    def on_images(self, done: int, images: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=done, total=images)
