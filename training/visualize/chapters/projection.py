"""Deconvolution: the strongest activations of the deepest convolution, back at the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.visualize.book import file_name
from training.visualize.deconvolution import NotAChainError, chain_to, project
from training.visualize.drawing.patch_sheets import projections
from training.visualize.fields import receptive_field
from training.visualize.filters import kernels

if TYPE_CHECKING:
    from training.visualize.book import Book

TITLE = "From an activation back to the pixels"
_STRONGEST = 4
_EARLIER = "an earlier layer can be asked for with --layer"


def draw(book: Book) -> None:
    """Run the strongest activations of each channel backwards, if the layers are a chain."""
    network, layer = book.subject.network, book.projected
    if network is None or layer is None:
        book.leave_out("Deconvolution", book.subject.closed_because or _why_not(book))
        return
    try:
        chain = chain_to(network, book.layers, layer)
    except NotAChainError as error:
        book.leave_out(f"Deconvolution of {layer.name}", f"{error}; {_EARLIER}")
        return
    found = book.peaks[layer.name].strongest(_STRONGEST)
    n, each = found.values.shape
    images = book.looked.split.images
    channels = np.repeat(np.arange(n), each)
    places = found.rows.ravel(), found.columns.ravel()
    projected = project(chain, images[found.images.ravel()], channels, *places)
    file = file_name("deconvolution", layer.name)
    projections(
        book.path(file),
        f"{book.subject.name}, {layer.name}: what its strongest activations go back to",
        found,
        receptive_field(network, layer),
        images,
        projected.reshape(n, each, *images.shape[1:]),
    )
    book.add(
        TITLE,
        f"Deconvolution of {layer.name}",
        file,
        alt=f"Pairs of a patch and the projection of its activation, {each} for the channels of "
        f"{layer.name}.",
        caption="Zeiler and Fergus 2013 (arXiv:1311.2901): one activation is kept and the network is "
        "run backwards, "
        "with max-unpooling to the places of the maxima, ReLU, and transposed filters. What is seen is "
        "the structure "
        "within the patch that caused the activation, in the colours that the filters would add to grey.",
    )


def _why_not(book: Book) -> str:
    network = book.subject.network
    if network is not None and kernels(network):
        return f"the deepest convolution is within a block, and only chains are run backwards; {_EARLIER}"
    return f"{book.subject.name} has no convolution"
