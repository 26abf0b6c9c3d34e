"""The builder that the chapters share: holds the model and images, collects figures and numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from training.atomic_files import write_text
from training.visualize.html_page import Report, ReportFigure, render_page
from training.visualize.layers import deepest_convolution
from training.visualize.output_folder import FILES_KEY, NUMBERS_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from training.data.dataset import Split
    from training.visualize.examples import Example
    from training.visualize.layers import Layer
    from training.visualize.top_activations import TopActivations
    from training.visualize.trained_model import TrainedModel

REPORT_NAME = "report.html"


@dataclass(frozen=True)
class ImageSelection:
    """The images that a report is made with."""

    description: str
    """Where they come from, for the report."""
    split: Split
    """Images to measure the model on, and to search for top activations."""
    indices: npt.NDArray[np.int64]
    """(n,): index of each image in the whole split, as ``--image`` counts."""
    examples: Sequence[Example]
    """Images that are shown one by one."""


class ReportProgress(Protocol):
    """Receives the progress of a report."""

    def on_step(self, number: int, steps: int, what: str) -> None:
        """Handle the start of a chapter; ``number`` counts from 1."""

    def on_images(self, done: int, images: int) -> None:
        """Handle the number of images processed in this chapter."""


class ReportBuilder:
    """A report in the making."""

    def __init__(
        self,
        model: TrainedModel,
        selection: ImageSelection,
        layer: str | None,
        folder: Path,
        progress: ReportProgress,
    ) -> None:
        """Start an empty report; arguments and LayerError as of ``write_report``."""
        self.model, self.selection, self.progress = model, selection, progress
        self.layer = model.layer(layer)
        self.top_activations: dict[str, TopActivations] = {}
        """By name of the layers that were searched."""
        self.numbers: dict[str, Any] = {}
        """Content of ``numbers.json``."""
        self.report = Report(f"A look inside {model.name}")
        self.section = ""
        """Title of the current chapter."""
        self._folder = folder

    @property
    def projected_layer(self) -> Layer | None:
        """The layer to deconvolve: the requested one, or the deepest convolution outside of blocks."""
        if self.layer is not None or self.model.network is None:
            return self.layer
        return deepest_convolution(self.model.network, self.model.layers)

    def path(self, file: str) -> Path:
        """Return where to write a figure."""
        return self._folder / file

    def add_figure(self, heading: str, file: str, *, alt: str, caption: str) -> None:
        """Add a figure, whose file has been written, to the current chapter."""
        self.report.figures.append(ReportFigure(self.section, heading, file, alt, caption))

    def omit(self, what: str, why: str) -> None:
        """Record that a figure does not apply to this model, and why."""
        self.report.absent.append((what, why))

    def write(self) -> None:
        """Write ``numbers.json`` and ``report.html``. Raises WriteError."""
        self.numbers[FILES_KEY] = [*(figure.file for figure in self.report.figures), REPORT_NAME]
        lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in self.numbers.items()]
        write_text(self._folder / NUMBERS_NAME, "{\n" + ",\n".join(lines) + "\n}\n")
        write_text(self._folder / REPORT_NAME, render_page(self.report, self._folder))


def file_name(*parts: str) -> str:
    """Join parts such as a layer's name to the file name of a figure."""
    return f"{'-'.join(parts).replace('.', '-')}.png"
