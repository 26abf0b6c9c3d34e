"""A comparison as two charts: accuracy by multiply-adds, and robustness by distance of the shift.

Both raise MissingPackageError without matplotlib, and WriteError if the file cannot be written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from training.onnx_graph.cost import CONVOLUTIONAL, FULLY_CONNECTED, RECURRENT
from training.plotting import GREY, MARKERS, PALETTE, picture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from training.compare.results import Comparison, ModelResult, ShiftRates
    from training.compare.shifts import Rate

_KINDS = (CONVOLUTIONAL, RECURRENT, FULLY_CONNECTED)
_LINES = ("-", "--", ":", "-.")
_LABEL_GAP = 0.055  # least distance of two names, as a share of the axes' height
_SIZES = (10_000, 100_000, 1_000_000, 10_000_000)


def accuracy_by_cost(comparison: Comparison, path: Path) -> None:
    """Draw top-1 by multiply-adds; a marker's area grows with the square root of the parameters."""
    rows = sorted(comparison.rows, key=lambda row: row.top1.mean)
    with picture(path, 8, 5.6) as figure:
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_xlabel("multiply-adds per image (logarithmic)")
        axes.set_ylabel("top-1, %")
        axes.set_title(f"Accuracy on {comparison.images:,} test images; bars: one standard error")
        axes.grid(visible=True)
        for row in rows:
            x, y, error = row.multiply_adds, 100 * row.top1.mean, 100 * row.top1.standard_error
            axes.errorbar(x, y, yerr=error, color=_marker(row.kind)["color"], linewidth=1)
            axes.scatter(x, y, s=_area(row.parameters), **_marker(row.kind))
        axes.margins(y=0.12)
        arithmetic = [row.multiply_adds for row in rows]
        axes.set_xlim(min(arithmetic) / 3, max(arithmetic) * 3)  # not empty, even for one model
        _name_beside(axes, rows)
        _explain_markers(figure, axes, rows)


def robustness_by_distance(comparison: Comparison, path: Path) -> None:
    """Draw top-1 and the share of unchanged predictions by the distance of the shift."""
    with picture(path, 9, 4.6) as figure:
        left, right = figure.subplots(1, 2)
        _curves(left, comparison.rows, "top-1, %", lambda each: each.top1)
        _curves(right, comparison.rows, "same prediction as for the original, %", lambda each: each.unchanged)
        handles, names = right.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)))
        figure.suptitle(
            f"{comparison.shift_images:,} test images shifted up, down, left and right; "
            "bars: one standard error",
            fontsize="medium",
        )


def _curves(axes: Axes, rows: Sequence[ModelResult], label: str, rate: Callable[[ShiftRates], Rate]) -> None:
    for index, row in enumerate(rows):
        turn, place = divmod(index, len(PALETTE))
        rates = [rate(each) for each in row.shifted]
        axes.errorbar(
            [each.distance_px for each in row.shifted],
            [100 * each.mean for each in rates],
            yerr=[100 * each.standard_error for each in rates],
            label=row.name,
            color=PALETTE[place],
            marker=MARKERS[place],
            linestyle=_LINES[turn % len(_LINES)],
            linewidth=1.2,
            markersize=5,
        )
    axes.set_xlabel("shifted by, pixels")
    axes.set_ylabel(label)
    axes.set_xticks([each.distance_px for each in rows[0].shifted])
    axes.grid(visible=True)


def _name_beside(axes: Axes, rows: Sequence[ModelResult]) -> None:
    """Write the names in a column right of the axes, without overlap, each with a line to its marker."""
    low, high = axes.get_ylim()
    heights: list[float] = []
    for row in rows:  # sorted by accuracy, lowest first
        own = (100 * row.top1.mean - low) / (high - low)
        heights.append(max(own, heights[-1] + _LABEL_GAP) if heights else own)
    too_high = max(0.0, heights[-1] - 1)
    for row, height in zip(rows, heights, strict=True):
        axes.annotate(
            f"{row.name}  {row.top1.mean:.1%}",
            xy=(row.multiply_adds, 100 * row.top1.mean),
            xytext=(1.03, height - too_high),
            textcoords="axes fraction",
            va="center",
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6},
            annotation_clip=False,
        )


def _explain_markers(figure: Figure, axes: Axes, rows: Sequence[ModelResult]) -> None:
    """Add a legend of kinds, and of parameters by marker size."""
    for kind in _KINDS:
        if any(row.kind == kind for row in rows):
            axes.scatter([], [], s=60, label=kind, **_marker(kind))
    largest = max(row.parameters for row in rows)
    for size in (size for size in _SIZES if size <= max(largest, _SIZES[0])):
        axes.scatter([], [], s=_area(size), facecolors="none", edgecolors=GREY, label=f"{size:,} parameters")
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, labelspacing=1.1, columnspacing=3)


def _marker(kind: str) -> dict[str, Any]:
    place = _KINDS.index(kind)
    return {"marker": MARKERS[place], "color": PALETTE[place], "alpha": 0.6, "linewidths": 0}


def _area(parameters: int) -> float:
    """Return points squared; with an area proportional to size, a large network would hide the others."""
    return float(0.35 * parameters**0.5)
