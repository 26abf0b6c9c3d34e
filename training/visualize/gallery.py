"""Has every picture of a model made, and the report that binds them.

In: a model and the images to look at. Out: PNG files, ``report.html`` and ``numbers.json`` in a folder. What
does not apply to a model is left out, and the report says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.visualize.book import Book, Listener, Looked
from training.visualize.chapters import activations as excitation
from training.visualize.chapters import answers, learning, maps, pixels, projection, weights
from training.visualize.layers import layer_called, layers_of

if TYPE_CHECKING:
    from pathlib import Path

    from training.visualize.report import Report
    from training.visualize.subject import Subject

_CHAPTERS = (answers, learning, weights, maps, excitation, projection, pixels)


def make(subject: Subject, looked: Looked, layer: str | None, folder: Path, listener: Listener) -> Report:
    """Make every picture that applies, ``report.html`` and ``numbers.json``.

    Args:
        subject: the model.
        looked: the images.
        layer: whose channels are looked at; None: the pooling layers, and the deepest convolution.
        folder: an empty one to write into.
        listener: is told each step.

    Raises:
        LayerError: there is no such layer, or it has no maps, or the model cannot be opened.
        MissingPackageError: Captum or matplotlib is not installed.
        WriteError: the folder cannot be written.
    """
    book = Book(subject, looked, layer, folder, listener)
    for number, chapter in enumerate(_CHAPTERS, start=1):
        listener.on_step(number, len(_CHAPTERS), chapter.TITLE)
        chapter.draw(book)
    book.bind()
    return book.report


def check_layer(subject: Subject, layer: str | None) -> None:
    """See that a layer can be looked at, before work is spent. Raises LayerError."""
    if layer is not None:
        layers = [] if subject.network is None else layers_of(subject.network)
        layer_called(layers, layer, subject.name)
