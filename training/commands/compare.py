"""``cifar10net-train compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from training.atomic_files import write_text
from training.commands.options import cache_option, data_option, table
from training.commands.presentation import console, echo_object, examples, json_option
from training.compare import charts as plots
from training.compare import table as tables
from training.compare.measure import compare as measure
from training.compare.models import in_repository, named
from training.compare.results import Comparison, to_json
from training.compare.speed import ROUNDS
from training.data.dataset import DataSet
from training.learning.progress import ProgressBar
from training.plotting import figure

if TYPE_CHECKING:
    from rich.console import Console

    from training.compare.table import Table


@click.command(
    epilog=examples(
        "cifar10net-train compare --out comparison",
        "cifar10net-train compare --model exported_models/cifar10net --rounds 5 --json",
    )
)
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    default=Path("exported_models"),
    help="Model repository, of which the newest version of each model is compared.",
)
@click.option(
    "--model",
    "chosen",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Compare these instead: .onnx files, or folders of models in a repository; repeatable.",
)
@data_option
@cache_option
@click.option(
    "--shift-images",
    type=click.IntRange(2),
    default=2_000,
    help="Test images to shift, the same number of each class; each costs 17 forward passes.",
)
@click.option("--rounds", type=click.IntRange(2), default=ROUNDS, help="Timing rounds of each model.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for compare.json, compare.md, accuracy.png and shifts.png.",
)
@json_option
def compare(  # noqa: PLR0913 - click passes each option by name
    *,
    models: Path,
    chosen: tuple[Path, ...],
    data: Path | None,
    cache_dir: Path | None,
    shift_images: int,
    rounds: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure exported models side by side.

    Measures size, multiply-adds, accuracy, speed, and the accuracy on shifted images.
    """
    screen = console(stderr=as_json)
    if out is not None:
        with figure(1, 1):
            pass  # fails now without matplotlib, not after minutes
    subjects, left_out = (named(chosen), []) if chosen else in_repository(models)
    for sentence in left_out:
        click.echo(sentence, err=True)
    source = DataSet(data, cache_dir)
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%")
    with _Bar(screen, *columns, TimeElapsedColumn()) as bar:
        comparison = measure(
            subjects,
            source.split("test"),
            source.description(),
            bar,
            shift_images=shift_images,
            rounds=rounds,
        )
    if as_json:
        echo_object(json.loads(to_json(comparison)))
    else:
        _show(comparison, screen)
    if out is not None:
        _write(comparison, out)
        screen.print(f"wrote compare.json, compare.md, accuracy.png and shifts.png to {out}", soft_wrap=True)


class _Bar(ProgressBar):
    """Shows the progress of a comparison."""

    def on_model(self, name: str, images: int) -> None:
        self._bar.reset(self._task, description=name, total=images)

    def on_images(self, n: int) -> None:
        self._bar.advance(self._task, n)

    def on_speed(self, turns: int) -> None:
        self._bar.reset(self._task, description="speed", total=turns)

    def on_turn(self) -> None:
        self._bar.advance(self._task)


def _show(comparison: Comparison, console: Console) -> None:
    for title, n, content, notes in (
        ("cost and accuracy", comparison.images, tables.cost_and_accuracy, tables.notes_on_accuracy),
        ("shifted images", comparison.shift_images, tables.shifted_images, tables.notes_on_shifts),
    ):
        console.print(_columns(f"{title}, n = {n:,}", content(comparison)))
        console.print(notes(comparison) + "\n")
    console.print(tables.verdict(comparison))


def _columns(title: str, content: Table) -> object:
    titles, rows = content
    columns = table(title)
    columns.padding = 0  # to fit 80 columns
    columns.add_column(titles[0], overflow="fold")
    for place, name in enumerate(titles[1:], start=1):
        words = name.replace("-adds", "- adds").split()  # keeps columns narrow
        width = max(map(len, (*words, *(cells[place] for cells in rows))))
        columns.add_column(" ".join(words), justify="right", width=width)
    for cells in rows:
        columns.add_row(*cells)
    return columns


def _write(comparison: Comparison, out: Path) -> None:
    write_text(out / "compare.json", to_json(comparison))
    write_text(out / "compare.md", f"# Models compared\n\n{tables.markdown(comparison)}")
    plots.accuracy_by_cost(comparison, out / "accuracy.png")
    plots.robustness_by_distance(comparison, out / "shifts.png")
