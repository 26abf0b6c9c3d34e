"""Training curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.plotting import MARKERS, PALETTE, picture
from training.visualize.training_curves import LOSSES, RATES, Curves

if TYPE_CHECKING:
    from pathlib import Path

_NAMES = {
    "loss": "training, while it learns",
    "validation_loss": "validation",
    "validation_top1": "validation top-1",
    "validation_top3": "validation top-3",
}
_MARKS = 12  # along a line


def training_curves(path: Path, title: str, curves: Curves) -> None:
    """Draw losses and rates of a run by epoch."""
    with picture(path, 9, 4) as drawn:
        panels = drawn.subplots(1, 2)
        for axes, names, label in zip(
            panels, (LOSSES, RATES), ("loss, nats", "share that is right"), strict=True
        ):
            for name, colour, marker in zip(names, PALETTE, MARKERS, strict=False):
                if name in curves.series:
                    every = max(1, len(curves.epochs) // _MARKS)
                    axes.plot(
                        curves.epochs,
                        curves.series[name],
                        color=colour,
                        marker=marker,
                        markevery=every,
                        ms=4,
                        lw=1.4,
                        label=_NAMES[name],
                    )
            axes.grid(visible=True)
            axes.set(xlabel="epoch", ylabel=label)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend()
        best = curves.best
        if best is not None:
            panels[1].set_title(f"highest validation top-1: {best[1]:.2%}, epoch {best[0]}", fontsize=9)
        panels[0].set_title(title, fontsize=9)
