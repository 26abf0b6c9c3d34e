"""Deconvolution: the strongest activations of the deepest convolution, projected back to the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.visualize.deconvolution import NotAChainError, chain_to, project
from training.visualize.drawing.patch_sheets import draw_projections
from training.visualize.filters import convolution_kernels
from training.visualize.receptive_fields import receptive_fields
from training.visualize.report_builder import file_name

if TYPE_CHECKING:
    from training.visualize.report_builder import ReportBuilder

TITLE = "Deconvolution: from an activation back to the pixels"
_STRONGEST = 4
_EARLIER = "choose an earlier layer with --layer"


def draw(builder: ReportBuilder) -> None:
    """Project the strongest activations of each channel back, if the layers are a chain."""
    network, layer = builder.model.network, builder.projected_layer
    if network is None or layer is None:
        builder.omit("Deconvolution", builder.model.no_network_reason or _no_layer_reason(builder))
        return
    try:
        chain = chain_to(network, builder.model.layers, layer)
    except NotAChainError as error:
        builder.omit(f"Deconvolution of {layer.name}", f"{error}; {_EARLIER}")
        return
    found = builder.top_activations[layer.name].strongest(_STRONGEST)
    n, each = found.values.shape
    images = builder.selection.split.images
    channels = np.repeat(np.arange(n), each)
    projected = project(
        chain, images[found.images.ravel()], channels, found.rows.ravel(), found.columns.ravel()
    )
    file = file_name("deconvolution", layer.name)
    draw_projections(
        builder.path(file),
        f"{builder.model.name}, {layer.name}: its strongest activations, projected back to the pixels",
        found,
        receptive_fields(network, layer),
        images,
        projected.reshape(n, each, *images.shape[1:]),
    )
    builder.add_figure(
        f"Deconvolution of {layer.name}",
        file,
        alt=f"Pairs of a patch and the projection of its activation, {each} for each channel of {layer.name} "
        "that is shown.",
        caption="Zeiler and Fergus 2013 (arXiv:1311.2901): all other activations are set to zero and the "
        "network runs backwards, with max-unpooling to the positions of the maxima, ReLU, and transposed "
        "filters. Visible is the structure in the patch that caused the activation, in the colours that the "
        "filters add to grey.",
    )


def _no_layer_reason(builder: ReportBuilder) -> str:
    network = builder.model.network
    if network is not None and convolution_kernels(network):
        return f"the deepest convolution is within a block, and only chains can run backwards; {_EARLIER}"
    return f"{builder.model.name} has no convolution"
