"""How every picture of the project looks, and how it becomes a PNG file.

In: a block that draws on a matplotlib figure. Out: the file, whole or not at all. matplotlib is imported when
a figure is made, not before; pyplot never is, so neither the backend nor the settings of a user's process
change. Knows nothing of what is drawn.
"""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

from training.atomic_files import replacing
from training.errors import MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, told apart with any kind of colour vision (https://jfly.uni-koeln.de/color/).

Their yellow is left out, since it is hard to see on white. Beside colour use a marker or a label: people
print in grey.
"""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""As many as there are colours."""
SEQUENTIAL = "cividis"
"""Colour map for amounts: the same steps of lightness for any kind of colour vision."""
DIVERGING = "PuOr"
"""Colour map for values about zero, symmetric limits assumed: orange below, purple above."""
GREY = "0.45"
"""For what is not the subject: guide lines, notes."""
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
    """Make an empty figure of this size in inches; the house's style holds within the block.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        import matplotlib.style  # noqa: PLC0415 - takes half a second and an extra: only who draws waits for it
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise MissingPackageError("matplotlib", "train") from error
    with matplotlib.style.context(["default", _STYLE]):  # whatever the user's matplotlibrc says
        drawn = Figure((width_in, height_in), dpi=DOTS_PER_INCH)
        FigureCanvasAgg(drawn)
        yield drawn


@contextlib.contextmanager
def picture(path: Path, width_in: float, height_in: float) -> Iterator[Figure]:
    """Make an empty figure that is written to ``path`` as PNG when the block ends without an error.

    Raises:
        MissingPackageError: matplotlib is not installed.
        WriteError: the file cannot be written.
    """
    with figure(width_in, height_in) as drawn:
        yield drawn
        content = png(drawn)
    with replacing(path) as file:
        file.write(content)


def png(drawn: Figure) -> bytes:
    """Return a figure as PNG: the same bytes for the same drawing and matplotlib."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
