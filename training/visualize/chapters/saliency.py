"""Attribution maps of the example images: occlusion and gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.data.cifar10 import CLASS_NAMES
from training.visualize.attribution import STRIDE_PX, WINDOW_PX, gradients, occlusion
from training.visualize.drawing.attribution_plots import attribution_sheet

if TYPE_CHECKING:
    from training.visualize.report_builder import ReportBuilder

TITLE = "Which pixels decide a prediction"
_FILE = "attribution.png"
_GRADIENTS = (
    " Saliency: how strongly the logit changes with a pixel. Integrated gradients: each pixel's share of the "
    "logit, compared with an image of the mean colour; purple is evidence for the prediction, orange against "
    "it. Both scales end at the 99th percentile."
)


def draw(builder: ReportBuilder) -> None:
    """Draw which pixels of each example decide its prediction."""
    model, examples = builder.model, builder.selection.examples
    images = np.stack([each.image for each in examples])
    probabilities = model.predict(images)
    classes = probabilities.argmax(axis=1)
    fill = np.rint(builder.selection.split.images.mean(axis=(0, 1, 2))).astype(np.uint8)
    lost = occlusion(model.predict, images, classes, fill)
    slopes = None if model.network is None else gradients(model.network, images, classes, fill)
    said = [CLASS_NAMES[each] for each in classes]
    captions = [
        f"{example.name} ({example.class_name})\n{name} {probability:.1%}"
        for example, name, probability in zip(examples, said, probabilities.max(axis=1), strict=True)
    ]
    title = f"{model.name}: which pixels decide its predictions"
    attribution_sheet(builder.path(_FILE), title, captions, images, lost, slopes)
    if slopes is None:
        builder.omit("Attribution by gradients", model.no_network_reason)
    predicted = [f"{each.name}, predicted as {name}" for each, name in zip(examples, said, strict=True)]
    builder.add_figure(
        "Occlusion" if slopes is None else "Occlusion and gradients",
        _FILE,
        alt=f"One row of maps per image: {'; '.join(predicted)}.",
        caption=f"Occlusion: a window of {WINDOW_PX}x{WINDOW_PX} pixels of the mean colour moves over the "
        f"image in steps of {STRIDE_PX}; hiding the purple pixels lowers the probability of the predicted "
        "class (mean over windows)." + ("" if slopes is None else _GRADIENTS),
    )
