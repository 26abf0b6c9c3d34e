"""Filters in colour and deeper kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.visualize.book import file_name
from training.visualize.drawing.filter_plots import colour_filters, kernel_matrix
from training.visualize.drawing.tiles import spread
from training.visualize.filters import first_matrix, kernels, pixel_weights

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from training.visualize.book import Book
    from training.visualize.filters import Kernels

TITLE = "What it weighs"
_MOST_DEEPER = 3


def draw(book: Book) -> None:
    """Draw what the first layer looks for, and how some layers above it combine what lies below them."""
    network = book.subject.network
    if network is None:
        book.leave_out("Filters", book.subject.closed_because)
        return
    convolutions = kernels(network)
    matrix = first_matrix(book.layers)
    if convolutions and convolutions[0].sees_colours:
        first = convolutions[0]
        words = "A filter answers most to a patch that looks like it."
        _in_colour(book, first.name, first.weights.transpose(0, 2, 3, 1), words)
    elif matrix is not None:
        words = (
            "The weights of a hidden unit, pixel by pixel: a matrix has one for each place, and what it "
            "learned at "
            "one it does not know at another. At most 64 units."
        )
        _in_colour(book, matrix.name, pixel_weights(network, matrix), words)
    else:
        why = f"the first layer of {book.subject.name} is neither a convolution nor a matrix over all pixels"
        book.leave_out("Filters in colour", why)
    deeper = convolutions[1:]
    if not deeper:
        book.leave_out("Deeper kernels", "there is no second convolution")
    for place in spread(len(deeper), _MOST_DEEPER):
        _deeper(book, deeper[place])


def _in_colour(book: Book, name: str, filters: npt.NDArray[np.float32], words: str) -> None:
    file = file_name("filters", name)
    colour_filters(book.path(file), name, filters)
    n, height, width, _ = filters.shape
    book.add(
        TITLE,
        f"Filters of {name} in colour",
        file,
        alt=f"{n} filters of {width} by {height} pixels in colour, grey where the weight is zero.",
        caption=f"{words} Each is on a scale of its own, which stands below it.",
    )


def _deeper(book: Book, convolution: Kernels) -> None:
    file = file_name("kernels", convolution.name)
    kernel_matrix(book.path(file), convolution.name, convolution.weights)
    n, channels, height, width = convolution.weights.shape
    book.add(
        TITLE,
        f"Kernels of {convolution.name}",
        file,
        alt=f"Table of kernels {width} by {height}: {n} filters, each reading {channels} channels; purple is "
        "positive, orange negative.",
        caption="A row is a filter, a column the channel of the layer below that it reads; all on one scale.",
    )
