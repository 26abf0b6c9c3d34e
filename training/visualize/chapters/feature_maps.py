"""Feature maps of the example images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from training.data.cifar10 import CLASS_NAMES
from training.visualize.drawing.feature_plots import feature_sheet
from training.visualize.layers import feature_maps
from training.visualize.report_builder import file_name

if TYPE_CHECKING:
    from training.visualize.report_builder import ReportBuilder

TITLE = "Feature maps"
_SKIPPED = (nn.Flatten, nn.Identity, nn.Dropout)  # they give the values of the layer before


def draw(builder: ReportBuilder) -> None:
    """Draw the output of each layer for each example; the last layer's are the probabilities."""
    network = builder.model.network
    if network is None:
        builder.omit("Feature maps", builder.model.no_network_reason)
        return
    layers = [each for each in builder.model.layers[:-1] if not isinstance(each.module, _SKIPPED)]
    names = ", ".join(each.name for each in layers)
    examples = builder.selection.examples
    for number, example in enumerate(examples, start=1):
        file = file_name("features", str(number))
        probabilities = builder.model.predict(example.image[None])[0]
        maps = feature_maps(network, layers, example.image)
        title = f"Feature maps of {builder.model.name} for {example.name} ({example.class_name})"
        feature_sheet(builder.path(file), title, example.image, probabilities, maps)
        builder.progress.on_images(number, len(examples))
        builder.add_figure(
            f"{example.name}: {example.class_name}",
            file,
            alt=f"The image, predicted as {CLASS_NAMES[int(probabilities.argmax())]} with "
            f"{probabilities.max():.1%}, and the output of: {names}.",
            caption="One row of maps per layer, two for many channels. Each layer has its own scale: yellow "
            "is strong; if values have signs, purple is positive and orange negative.",
        )
