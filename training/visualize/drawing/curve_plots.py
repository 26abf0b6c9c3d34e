"""Training curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from training.plotting import MARKERS, PALETTE, picture
from training.visualize.training_curves import LOSSES, RATES, best_epoch

if TYPE_CHECKING:
    from pathlib import Path

    from training.visualize.training_curves import Curves

_NAMES = {
    "loss": "training, during the epoch",
    "validation_loss": "validation",
    "validation_top1": "validation top-1",
    "validation_top3": "validation top-3",
}
_MARKERS_PER_LINE = 12


def plot_training_curves(path: Path, title: str, curves: Curves) -> None:
    """Draw losses and accuracies of a run by epoch."""
    epochs = curves["epoch"]
    every = max(1, len(epochs) // _MARKERS_PER_LINE)
    with picture(path, 9, 4) as drawn:
        panels = drawn.subplots(1, 2)
        labels = ("loss, nats", "share that is right")
        for axes, names, label in zip(panels, (LOSSES, RATES), labels, strict=True):
            for name, colour, marker in zip(names, PALETTE, MARKERS, strict=False):
                if name in curves:
                    style: dict[str, Any] = {"color": colour, "marker": marker, "markevery": every}
                    axes.plot(epochs, curves[name], ms=4, lw=1.4, label=_NAMES[name], **style)
            axes.grid(visible=True)
            axes.set(xlabel="epoch", ylabel=label)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend()
        panels[0].set_title(title, fontsize=9)
        if best := best_epoch(curves):
            panels[1].set_title(f"highest validation top-1: {best[1]:.2%}, epoch {best[0]}", fontsize=9)
