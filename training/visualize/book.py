"""What the chapters of a report share: the model, the images, and where pictures, words and numbers go.

Knows nothing of any one picture.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from training.atomic_files import write_text
from training.visualize.folder import FILES_KEY, NUMBERS_NAME
from training.visualize.layers import deepest_convolution, layer_called, layers_of
from training.visualize.report import Picture, Report, page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from training.data.dataset import Split
    from training.visualize.examples import Example
    from training.visualize.layers import Layer
    from training.visualize.subject import Subject
    from training.visualize.top_activations import Peaks

REPORT_NAME = "report.html"


@dataclass(frozen=True)
class Looked:
    """The images that a model is looked at with."""

    description: str
    """Which they are, for the report."""
    split: Split
    """Measured on, and searched for what excites a channel."""
    indices: npt.NDArray[np.int64]
    """(n,): where each of them is in the whole split, as ``--image`` counts."""
    examples: Sequence[Example]
    """Looked at one by one."""


class Listener(Protocol):
    """Is told how the work goes."""

    def on_step(self, number: int, steps: int, what: str) -> None:
        """Take note of a chapter that is begun, the first has number 1."""

    def on_images(self, done: int, images: int) -> None:
        """Take note of images that were looked at in this chapter."""


class Book:
    """A report in the making."""

    def __init__(
        self, subject: Subject, looked: Looked, layer: str | None, folder: Path, listener: Listener
    ) -> None:
        """Begin a report.

        Args:
            subject: the model.
            looked: the images.
            layer: whose channels are looked at; None leaves the choice to the chapters.
            folder: an empty one, for the files.
            listener: is told how it goes.

        Raises:
            LayerError: there is no such layer, or it has no maps, or the model cannot be opened.
        """
        self.subject, self.looked, self.listener = subject, looked, listener
        self.layers = [] if subject.network is None else layers_of(subject.network)
        self.layer = None if layer is None else layer_called(self.layers, layer, subject.name)
        self.peaks: dict[str, Peaks] = {}
        """What excites the layers that were searched."""
        self.numbers: dict[str, Any] = {}
        """What goes to ``numbers.json``."""
        self.report = Report(f"A look inside {subject.name}")
        self._folder = folder

    @property
    def projected(self) -> Layer | None:
        """The layer to deconvolve: the one asked for, or the deepest convolution that is no block's."""
        if self.layer is not None:
            return self.layer
        network = self.subject.network
        return None if network is None else deepest_convolution(network, self.layers)

    def path(self, file: str) -> Path:
        """Return where a picture has to be written."""
        return self._folder / file

    def add(self, section: str, heading: str, file: str, *, alt: str, caption: str) -> None:
        """Put a picture that was written into the report."""
        self.report.pictures.append(Picture(section, heading, file, alt, caption))

    def leave_out(self, what: str, why: str) -> None:
        """Say which pictures do not apply, and why."""
        self.report.absent.append((what, why))

    def bind(self) -> None:
        """Write numbers and page; raises WriteError."""
        self.numbers[FILES_KEY] = [*(each.file for each in self.report.pictures), REPORT_NAME]
        lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in self.numbers.items()]
        write_text(self._folder / NUMBERS_NAME, "{\n" + ",\n".join(lines) + "\n}\n")
        write_text(self._folder / REPORT_NAME, page(self.report, self._folder))


def file_name(*parts: str) -> str:
    """Make the name of a picture's file, of a layer's name and what else it is."""
    return f"{'-'.join(parts).replace('.', '-')}.png"
