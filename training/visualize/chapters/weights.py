"""Filters of the first layer in colour, and kernels of deeper layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.visualize.drawing.filter_plots import colour_filters, kernel_matrix
from training.visualize.drawing.tiles import evenly_spaced
from training.visualize.filters import convolution_kernels, fully_connected_input, pixel_weights
from training.visualize.report_builder import file_name

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from training.visualize.report_builder import ReportBuilder

TITLE = "Learned weights"
_COLOURS = 3
_MOST_DEEPER = 3


def draw(builder: ReportBuilder) -> None:
    """Draw the filters of the first layer, and the kernels of up to three deeper convolutions."""
    network = builder.model.network
    if network is None:
        builder.omit("Filters", builder.model.no_network_reason)
        return
    convolutions = list(convolution_kernels(network).items())
    fully_connected = fully_connected_input(builder.model.layers)
    if convolutions and convolutions[0][1].shape[1] == _COLOURS:
        name, kernels = convolutions[0]
        explanation = "A filter responds most strongly to a patch that looks like it."
        _draw_in_colour(builder, name, kernels.transpose(0, 2, 3, 1), explanation)
    elif fully_connected is not None:
        explanation = (
            "The weights of a hidden unit, pixel by pixel: a fully connected layer has separate weights for "
            "each position, so it cannot recognize at one position what it learned at another. At most 64 "
            "units."
        )
        weights = pixel_weights(network, fully_connected)
        _draw_in_colour(builder, fully_connected.name, weights, explanation)
    else:
        why = f"the first layer of {builder.model.name} is neither a convolution nor connected to all pixels"
        builder.omit("Filters in colour", why)
    deeper = convolutions[1:]
    if not deeper:
        builder.omit("Deeper kernels", "there is no second convolution")
    for index in evenly_spaced(len(deeper), _MOST_DEEPER):
        _draw_kernels(builder, *deeper[index])


def _draw_in_colour(
    builder: ReportBuilder, name: str, filters: npt.NDArray[np.float32], explanation: str
) -> None:
    file = file_name("filters", name)
    colour_filters(builder.path(file), name, filters)
    n, height, width, _ = filters.shape
    builder.add_figure(
        f"Filters of {name} in colour",
        file,
        alt=f"{n} filters of {width} by {height} pixels in colour, grey where the weight is zero.",
        caption=f"{explanation} Each filter has its own scale, shown below it.",
    )


def _draw_kernels(builder: ReportBuilder, name: str, kernels: npt.NDArray[np.float32]) -> None:
    file = file_name("kernels", name)
    kernel_matrix(builder.path(file), name, kernels)
    n, channels, height, width = kernels.shape
    builder.add_figure(
        f"Kernels of {name}",
        file,
        alt=f"Table of kernels {width} by {height}: {n} filters, each reading {channels} channels; purple is "
        "positive, orange negative.",
        caption="A row is a filter, a column is an input channel; all kernels share one scale.",
    )
