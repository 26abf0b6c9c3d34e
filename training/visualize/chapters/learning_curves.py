"""Training curves, if the run is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.visualize.drawing.curve_plots import plot_training_curves
from training.visualize.training_curves import best_epoch, training_curves

if TYPE_CHECKING:
    from training.visualize.report_builder import ReportBuilder

TITLE = "How it learned"


def draw(builder: ReportBuilder) -> None:
    """Draw losses and accuracies by epoch."""
    if not builder.model.metrics:
        builder.omit("Training curves", "they need a run folder with its metrics.jsonl")
        return
    curves = training_curves(builder.model.metrics)
    plot_training_curves(builder.path("curves.png"), builder.model.name, curves)
    best = best_epoch(curves)
    highest = f" Highest top-1: {best[1]:.2%} in epoch {best[0]}." if best else ""
    builder.add_figure(
        "Training curves",
        "curves.png",
        alt=f"Losses and validation accuracies over {len(curves['epoch'])} epochs.{highest}",
        caption="The training loss is measured during learning, on augmented images; with a teacher it is "
        "mostly the distance to the teacher's predictions. The validation loss is the cross-entropy of the "
        "averaged weights, so it can be lower than the training loss.",
    )
