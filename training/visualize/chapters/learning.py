"""Training curves, where the run is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.visualize.drawing.curve_plots import training_curves
from training.visualize.training_curves import curves

if TYPE_CHECKING:
    from training.visualize.book import Book

TITLE = "How it learned"


def draw(book: Book) -> None:
    """Draw losses and accuracies by epoch."""
    if not book.subject.metrics:
        book.leave_out("Training curves", "they need a run folder with its metrics.jsonl")
        return
    told = curves(book.subject.metrics)
    training_curves(book.path("curves.png"), book.subject.name, told)
    best = "" if told.best is None else f" Highest top-1: {told.best[1]:.2%} in epoch {told.best[0]}."
    book.add(
        TITLE,
        "Training curves",
        "curves.png",
        alt=f"Losses and validation accuracies over {len(told.epochs)} epochs.{best}",
        caption="Training loss is measured while the network learns, on augmented images, and with a teacher "
        "it is mostly the distance from that one's answers; validation loss is the cross-entropy of the "
        "averaged weights, so that it can be the lower one.",
    )
