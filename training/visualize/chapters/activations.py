"""Images and patches that activate the channels of the pooling layers most strongly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.visualize.drawing.patch_sheets import draw_images, draw_patches
from training.visualize.layers import last_pooling_layers
from training.visualize.receptive_fields import receptive_fields
from training.visualize.report_builder import file_name
from training.visualize.top_activations import find_top_activations

if TYPE_CHECKING:
    from training.visualize.layers import Layer
    from training.visualize.receptive_fields import ReceptiveFields
    from training.visualize.report_builder import ReportBuilder
    from training.visualize.top_activations import TopActivations

TITLE = "What activates each channel"
_STRONGEST = 9
_MOST_LAYERS = 3


def draw(builder: ReportBuilder) -> None:
    """Find and draw the top activations; searches the layer to deconvolve, too."""
    network = builder.model.network
    requested = [] if builder.layer is None else [builder.layer]
    layers = requested or last_pooling_layers(builder.model.layers, _MOST_LAYERS)
    if network is None or not layers:
        builder.omit("What excites channels", builder.model.no_network_reason or "no layer has feature maps")
        return
    images = builder.selection.split.images
    to_search = {each.name: each for each in (*layers, builder.projected_layer) if each is not None}
    builder.top_activations = find_top_activations(
        network,
        list(to_search.values()),
        images,
        _STRONGEST,
        lambda done: builder.progress.on_images(done, len(images)),
    )
    builder.numbers["excitation"] = {}
    for layer in layers:
        _draw_layer(builder, layer, builder.top_activations[layer.name], receptive_fields(network, layer))


def _draw_layer(builder: ReportBuilder, layer: Layer, found: TopActivations, fields: ReceptiveFields) -> None:
    selection, (height, width) = builder.selection, fields.size
    for kind, draw_sheet in (("patches", draw_patches), ("images", draw_images)):
        file = file_name("excitation", layer.name, kind)
        what = f"{kind} with the strongest activation of each channel"
        title = f"{builder.model.name}, {layer.name}: {what}"
        draw_sheet(builder.path(file), title, found, fields, selection.split.images)
        builder.add_figure(
            f"{layer.name}: {what}",
            file,
            alt=f"Strips of up to {found.values.shape[1]} {kind} for the channels of {layer.name}, "
            "strongest first.",
            caption=f"Found in {len(selection.split):,} images; each counts once, at its strongest position. "
            f"The receptive field of {layer.name} has at most {width}x{height} pixels; patches at the border "
            "of an image are smaller.",
        )
    builder.numbers["excitation"][layer.name] = {
        "receptive_field": [height, width],
        "images": selection.indices[found.images].tolist(),
        "values": np.round(found.values.astype(np.float64), 5).tolist(),
    }
