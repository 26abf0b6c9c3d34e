"""Figures of both demonstrations.

Both raise MissingPackageError without matplotlib, and WriteError if the file cannot be written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.demo.conv1d import FILTERS
from training.plotting import DIVERGING, GREY, PALETTE, SEQUENTIAL, picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from training.demo.conv1d import EdgeResponses
    from training.demo.template_matching import Box, Map, Peak

_LABEL_BOX = {"facecolor": "white", "pad": 1.5, "linewidth": 0}


def draw_edges(passes: Sequence[EdgeResponses], length: int, path: Path) -> None:
    """Draw the padded signal, and below it the outputs of both filters at each stride, before and after ReLU.

    Args:
        passes: one for each stride, of the same signal.
        length: length of the signal before padding.
        path: the PNG file.
    """
    padded = passes[0].padded
    with picture(path, max(7.0, 0.45 * len(padded)), 2.6 + 2.4 * len(passes)) as figure:
        top, *rest = figure.subplots(1 + len(passes), 1, sharex=True)
        appended = np.arange(length, len(padded))
        top.bar(range(len(padded)), padded, width=0.8, color=GREY)
        top.scatter(appended, np.zeros(len(appended)), marker="x", color="black", label="zero padding")
        _number(top, np.arange(len(padded), dtype=np.float64), padded)
        top.set_title(f"input: {length} values, padded to {len(padded)}")
        top.set_ylabel("brightness")
        if len(appended):
            top.legend(loc="upper left", bbox_to_anchor=(1, 1))
        for axes, each in zip(rest, passes, strict=True):
            _draw_pass(axes, each)
        rest[-1].set_xlabel("position in the padded signal; an output stands between the values it compares")
        rest[-1].set_xticks(range(len(padded)))


def _draw_pass(axes: Axes, responses: EdgeResponses) -> None:
    for channel, (name, weights) in enumerate(FILTERS.items()):
        outputs, rectified = responses.outputs[channel], responses.rectified[channel]
        middles = np.array(responses.places) + 0.5 + (0.2 if channel else -0.2)
        colour, hatch = PALETTE[channel], "//" if channel else ""
        label = f"{name}\n({', '.join(f'{weight:+g}' for weight in weights)})"
        axes.bar(middles, outputs, width=0.36, fill=False, edgecolor=colour, linestyle=":")
        axes.bar(middles, rectified, width=0.36, color=colour, hatch=hatch, label=label)
        _number(axes, middles, outputs)
    axes.axhline(0, color="black", linewidth=0.8)
    places = responses.outputs.shape[1]
    axes.set_title(f"stride {responses.stride}: {places} outputs of each filter; filled: after ReLU")
    axes.set_ylabel("output")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _number(axes: Axes, places: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> None:
    for place, value in zip(places, values, strict=True):
        gap, side = (3, "bottom") if value >= 0 else (-3, "top")
        at = float(place), float(value)
        axes.annotate(f"{value:g}", at, xytext=(0, gap), textcoords="offset points", ha="center", va=side)
    axes.margins(y=0.25)


def draw_template(  # noqa: PLR0913 - each is a part of the figure
    image: Map, box: Box, *, plain: Map, brightest: Peak, normalised: Map, best: Sequence[Peak], path: Path
) -> None:
    """Draw the image with its box, the filter, and both score maps with their peaks.

    Args:
        image: grey values (h, w) of 0 to 1.
        box: where the filter was cut.
        plain: scores of plain correlation.
        brightest: their highest peak.
        normalised: scores of normalised correlation.
        best: their peaks, highest first.
        path: the PNG file.
    """
    height, width = image.shape
    # Four panels, each half as wide as the page, with space for labels.
    with picture(path, 11, 2.4 + 7.4 * min(1.5, height / width)) as figure:
        (shown, cut), (left, right) = figure.subplots(2, 2)
        _draw_image(shown, image, box, brightest, best)
        _draw_filter(figure, cut, box.cut(image))
        _draw_map(figure, left, plain, box, brightest)
        left.set_title("plain correlation: multiply and add")
        _draw_map(figure, right, normalised, box, best[0])
        right.set_title("normalised correlation: only the pattern counts")
        for axes in (shown, left, right):
            axes.set_xlim(-0.5, width - 0.5)
            axes.set_ylim(height - 0.5, -0.5)
        for axes in (shown, cut, left, right):
            axes.set_xlabel("x, pixels")
            axes.set_ylabel("y, pixels")


def _draw_image(axes: Axes, image: Map, box: Box, brightest: Peak, best: Sequence[Peak]) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=1)
    _frame(axes, box, (box.x, box.y), PALETTE[1], "cut here", "-")
    _frame(axes, box, (brightest.x, brightest.y), PALETTE[5], "peak of plain correlation", "--")
    for rank, peak in enumerate(best, start=1):
        above = peak.x + box.width / 2, peak.y
        axes.annotate(str(rank), above, ha="center", va="bottom", fontsize="small", bbox=_LABEL_BOX)
    axes.set_title("numbers: best matches by normalised correlation")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def _draw_filter(figure: Figure, axes: Axes, weights: Map) -> None:
    centred = weights - weights.mean()
    limit = float(np.abs(centred).max())
    drawn = axes.imshow(centred, cmap=DIVERGING, vmin=-limit, vmax=limit)
    figure.colorbar(drawn, ax=axes, label="grey value minus mean")
    axes.set_title(f"the filter without its mean, {weights.shape[1]}x{weights.shape[0]} pixels")


def _draw_map(figure: Figure, axes: Axes, scores: Map, box: Box, peak: Peak) -> None:
    """Draw scores so that each lies at the centre of its window."""
    rows, columns = scores.shape
    left, top = (box.width - 1) / 2, (box.height - 1) / 2
    extent = (left - 0.5, left + columns - 0.5, top + rows - 0.5, top - 0.5)
    drawn = axes.imshow(scores, cmap=SEQUENTIAL, extent=extent)
    figure.colorbar(drawn, ax=axes, label="score of the window around the pixel")
    x, y = peak.x + left, peak.y + top
    for colour, line in (("black", 3), ("white", 1.2)):
        axes.scatter(x, y, s=160, facecolors="none", edgecolors=colour, linewidths=line)
    axes.annotate(
        f"peak {peak.value:,.2f}", (x, y), xytext=(10, 8), textcoords="offset points", bbox=_LABEL_BOX
    )


def _frame(axes: Axes, box: Box, corner: tuple[int, int], colour: str, label: str, line: str) -> None:  # noqa: PLR0913, PLR0917 - a frame and its style
    """Draw a frame of the box's size at a corner."""
    x, y = corner[0] - 0.5, corner[1] - 0.5
    across = [x, x + box.width, x + box.width, x, x]
    down = [y, y, y + box.height, y + box.height, y]
    axes.plot(across, down, color=colour, linewidth=2, linestyle=line, label=label)
