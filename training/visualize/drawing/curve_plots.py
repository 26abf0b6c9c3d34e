"""Training curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.plotting import MARKERS, PALETTE, picture
from training.visualize.training_curves import LOSSES, RATES, TrainingCurves

if TYPE_CHECKING:
    from pathlib import Path

_NAMES = {
    "loss": "training, during the epoch",
    "validation_loss": "validation",
    "validation_top1": "validation top-1",
    "validation_top3": "validation top-3",
}
_MARKERS_PER_LINE = 12


def plot_training_curves(path: Path, title: str, curves: TrainingCurves) -> None:
    """Draw losses and accuracies of a run by epoch."""
    with picture(path, 9, 4) as drawn:
        panels = drawn.subplots(1, 2)
        labels = ("loss, nats", "share that is right")
        for axes, names, label in zip(panels, (LOSSES, RATES), labels, strict=True):
            for name, colour, marker in zip(names, PALETTE, MARKERS, strict=False):
                if name in curves.series:
                    every = max(1, len(curves.epochs) // _MARKERS_PER_LINE)
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
        if curves.best is not None:
            epoch, top1 = curves.best
            panels[1].set_title(f"highest validation top-1: {top1:.2%}, epoch {epoch}", fontsize=9)
        panels[0].set_title(title, fontsize=9)
