"""The style of every figure, and writing figures as PNG files.

matplotlib is imported when a figure is made; pyplot never is, so the backend and settings of the process do
not change.
"""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

from training.atomic_files import write_bytes
from training.errors import required

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, which any kind of colour vision can distinguish (https://jfly.uni-koeln.de/color/).

Their yellow is left out, since it is hard to see on white. Add a marker or a label to each colour, for prints
in grey.
"""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""One for each colour of the palette."""
SEQUENTIAL = "cividis"
"""Colour map for amounts: even steps of lightness for any kind of colour vision."""
DIVERGING = "PuOr"
"""Colour map for signed values with symmetric limits: orange below zero, purple above."""
GREY = "0.45"
"""For guide lines and notes."""
DOTS_PER_INCH = 144

_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.grid": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "figure.titlesize": "large",
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10,
    "grid.color": "0.88",
    "image.cmap": SEQUENTIAL,
    "image.interpolation": "nearest",
    "legend.frameon": False,
}


@contextlib.contextmanager
def figure(width_in: float, height_in: float) -> Iterator[Figure]:
    """Make an empty figure of this size in inches; the style applies within the block.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    with required("train"):
        import matplotlib.style  # noqa: PLC0415 - takes half a second
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    with matplotlib.style.context(["default", _STYLE]):  # not the user's matplotlibrc
        drawn = Figure((width_in, height_in), dpi=DOTS_PER_INCH)
        FigureCanvasAgg(drawn)
        yield drawn


@contextlib.contextmanager
def picture(path: Path, width_in: float, height_in: float) -> Iterator[Figure]:
    """Make an empty figure, written to ``path`` as PNG when the block ends without an error.

    Raises:
        MissingPackageError: matplotlib is not installed.
        WriteError: the file cannot be written.
    """
    with figure(width_in, height_in) as drawn:
        yield drawn
        content = png(drawn)
    write_bytes(path, content)


def png(drawn: Figure) -> bytes:
    """Return a figure as PNG; the same figure and matplotlib version give the same bytes."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
