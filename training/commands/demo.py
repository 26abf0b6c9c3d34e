"""``cifar10net-train demo``: convolutions small enough to follow by hand."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from training.commands.options import table
from training.commands.presentation import console, echo_object, examples, json_option
from training.demo import plots
from training.demo.conv1d import SIGNAL, arithmetic, find_edges, missed_edges
from training.demo.grayscale import parse_box, read_grayscale
from training.demo.synthetic_crowd import draw_crowd
from training.demo.template_matching import Box, Peak, correlate, correlate_normalised, find_peaks
from training.errors import TrainingError

if TYPE_CHECKING:
    from rich.table import Table

    from training.demo.template_matching import Map

_SHOWN_PEAKS = 5


@click.group(epilog=examples("cifar10net-train demo conv1d", "cifar10net-train demo template"))
def demo() -> None:
    """Show convolutions small enough to follow by hand."""


@demo.command(
    epilog=examples(
        "cifar10net-train demo conv1d",
        "cifar10net-train demo conv1d --signal 1,8,8,8,2 --stride 1 --out edges.png --json",
    )
)
@click.option(
    "--signal", default=",".join(f"{value:g}" for value in SIGNAL), help="Brightnesses, separated by commas."
)
@click.option(
    "--stride", "strides", type=int, multiple=True, default=(1, 2), help="Step between windows; repeatable."
)
@click.option("--padding", type=int, default=1, help="Zeros after the signal.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("conv1d.png"), help="Picture to write.")
@json_option
def conv1d(*, signal: str, strides: tuple[int, ...], padding: int, out: Path, as_json: bool) -> None:
    """Find edges in a row of brightnesses.

    Applies two filters of two values at each stride, and prints every product and sum.
    """
    values = _numbers(signal)
    passes = [find_edges(values, stride, padding) for stride in strides]
    padded = passes[0].padded
    if as_json:
        plots.draw_edges(passes, len(values), out)
        objects = [{"stride": each.stride, "outputs": np.asarray(each.outputs).tolist()} for each in passes]
        echo_object({"padded": np.asarray(padded).tolist(), "passes": objects, "picture": str(out)})
        return
    click.echo(f"input, {len(values)} values:  {_listed(values)}")
    click.echo(f"padded, {len(padded)} values: {_listed(padded)}")
    for each in passes:
        places = each.outputs.shape[1]
        click.echo(
            f"\nstride {each.stride}: ({len(padded)} - 2) // {each.stride} + 1 = {places} places, 2 channels"
        )
        for line in arithmetic(each):
            click.echo(line)
        if passed_by := missed_edges(each):
            click.echo(f"an edge between two windows is missed: at {_listed(passed_by)}")
    plots.draw_edges(passes, len(values), out)
    click.echo(f"\nwrote {out}")


@demo.command(
    epilog=examples(
        "cifar10net-train demo template",
        "cifar10net-train demo template --image crowd.png --box 40,32,24,24 --out found.png --json",
    )
)
@click.option("--image", type=click.Path(path_type=Path), help="Picture to search; default: a drawn crowd.")
@click.option("--box", help="x,y,w,h in pixels of the filter to cut; with --image.")
@click.option(
    "--face", type=int, default=13, help="Without --image: which of the 36 faces to look for, from 1."
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Without --image: another crowd.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("template.png"), help="Picture to write."
)
@json_option
def template(  # noqa: PLR0913 - click passes each option by name
    *, image: Path | None, box: str | None, face: int, seed: int, out: Path, as_json: bool
) -> None:
    """Find a part of a picture in the picture.

    The part becomes a filter that slides over the picture, by plain and by normalised correlation.
    """
    pixels, cut = _crowd(face, seed, box) if image is None else _photograph(image, box)
    weights = cut.cut(pixels)
    normalised, plain = correlate_normalised(pixels, weights), correlate(pixels, weights)
    size = (cut.height, cut.width)
    best = find_peaks(normalised, size, _SHOWN_PEAKS)
    (brightest,) = find_peaks(plain, size, 1)
    plots.draw_template(
        pixels, cut, plain=plain, brightest=brightest, normalised=normalised, best=best, path=out
    )
    if as_json:
        found = {"plain": asdict(brightest), "normalised": [asdict(peak) for peak in best]}
        echo_object({"cut": asdict(cut)} | found | {"picture": str(out)})
        return
    screen = console()
    height, width = pixels.shape
    screen.print(
        f"a picture of {width}x{height} pixels, a filter of {cut.width}x{cut.height} cut at x {cut.x}, "
        f"y {cut.y}: {plain.size:,} places, {plain.size * weights.size / 1e6:,.0f} million multiply-adds "
        "a map\n"
    )
    screen.print(_peak_table(pixels, cut, brightest, best))
    screen.print(_explanation(pixels, cut, brightest, best[0]))
    screen.print(f"wrote {out}", soft_wrap=True)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise TrainingError(
            f"the signal is {text!r}, wanted numbers separated by commas, such as 1,8,8,8,2"
        ) from error


def _crowd(face: int, seed: int, box: str | None) -> tuple[Map, Box]:
    if box is not None:
        raise click.UsageError("--box needs --image; a face of the drawn crowd is chosen by --face")
    pixels, boxes = draw_crowd(seed)
    if not 1 <= face <= len(boxes):
        raise TrainingError(f"there is no face {face}, wanted 1 to {len(boxes)}")
    return pixels, boxes[face - 1]


def _photograph(image: Path, box: str | None) -> tuple[Map, Box]:
    if box is None:
        raise click.UsageError("--image needs --box x,y,w,h: which part of it to look for")
    return read_grayscale(image, parse_box(box))


def _peak_table(pixels: Map, cut: Box, brightest: Peak, best: list[Peak]) -> Table:
    rows = table("where the filter fits best")
    rows.add_column("correlation")
    for name in ("x", "y", "value", "from the cut, px", "brightness there"):
        rows.add_column(name, justify="right")
    named = [("plain, place 1", brightest)]
    named += [(f"normalised, place {rank}", peak) for rank, peak in enumerate(best, start=1)]
    for name, peak in named:
        rows.add_row(
            name,
            str(peak.x),
            str(peak.y),
            f"{peak.value:,.3f}",
            f"{_distance(peak, cut):.0f}",
            f"{_brightness(pixels, cut, peak):.2f}",
        )
    return rows


def _explanation(pixels: Map, cut: Box, brightest: Peak, best: Peak) -> str:
    plain, normalised = (_distance(peak, cut) for peak in (brightest, best))
    text = "Plain correlation multiplies and adds, so bright places score high whatever they show: "
    if plain:
        there, own = _brightness(pixels, cut, brightest), cut.cut(pixels).mean()
        text += f"its peak is {plain:.0f} pixels from the cut, "
        text += f"in a window of mean {there:.2f} (the cut: {own:.2f}). "
    else:
        text += "the cut happens to be such a place, and it peaks there. "
    text += "Normalised correlation takes the mean away and divides by the deviation, "
    text += "so the pattern counts alone: "
    if normalised:
        return text + f"its peak is {normalised:.0f} pixels from the cut, where the same pattern comes again."
    return text + "its peak is where the filter was cut."


def _distance(peak: Peak, cut: Box) -> float:
    return math.hypot(peak.x - cut.x, peak.y - cut.y)


def _brightness(pixels: Map, cut: Box, peak: Peak) -> float:
    return float(Box(peak.x, peak.y, cut.width, cut.height).cut(pixels).mean())


def _listed(values: object) -> str:
    return ", ".join(f"{value:g}" for value in np.asarray(values))
