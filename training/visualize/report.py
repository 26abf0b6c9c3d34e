"""Writes the whole report of a model: PNG files, ``report.html`` and ``numbers.json``.

Figures that do not apply to a model are omitted, and the report says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.visualize.chapters import (
    activations,
    feature_maps,
    learning_curves,
    predictions,
    projection,
    saliency,
    weights,
)
from training.visualize.report_builder import ImageSelection, ReportBuilder, ReportProgress

if TYPE_CHECKING:
    from pathlib import Path

    from training.visualize.html_page import Report
    from training.visualize.trained_model import TrainedModel

_CHAPTERS = (predictions, learning_curves, weights, feature_maps, activations, projection, saliency)


def write_report(
    model: TrainedModel, selection: ImageSelection, layer: str | None, folder: Path, progress: ReportProgress
) -> Report:
    """Draw every figure that applies, and write ``report.html`` and ``numbers.json``.

    Args:
        model: the model.
        selection: the images.
        layer: layer whose channels to show; None: the pooling layers, and the deepest convolution.
        folder: an empty folder to write into.
        progress: receives each step.

    Raises:
        LayerError: there is no such layer, it has no feature maps, or the model's network is not available.
        MissingPackageError: Captum or matplotlib is not installed.
        WriteError: the folder cannot be written.
    """
    builder = ReportBuilder(model, selection, layer, folder, progress)
    for number, chapter in enumerate(_CHAPTERS, start=1):
        builder.section = chapter.TITLE
        progress.on_step(number, len(_CHAPTERS), chapter.TITLE)
        chapter.draw(builder)
    builder.write()
    return builder.report
