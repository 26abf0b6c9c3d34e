"""Attribution: occlusion and gradients of the examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.data.cifar10 import CLASS_NAMES
from training.visualize.attribution import STRIDE_PX, WINDOW_PX, gradients, occlusion
from training.visualize.drawing.attribution_plots import Attributed, attribution_sheet
from training.visualize.examples import class_of

if TYPE_CHECKING:
    from training.visualize.book import Book

TITLE = "Which pixels an answer hangs on"
_FILE = "attribution.png"


def draw(book: Book) -> None:
    """Draw which pixels of each example speak for its answer."""
    subject, examples = book.subject, book.looked.examples
    images = np.stack([each.image for each in examples])
    probabilities = subject.predict(images)
    classes = probabilities.argmax(axis=1)
    fill = np.rint(book.looked.split.images.mean(axis=(0, 1, 2))).astype(np.uint8)
    lost = occlusion(subject.predict, images, classes, fill)
    slopes = None if subject.network is None else gradients(subject.network, images, classes, fill)
    rows = [
        Attributed(
            f"{example.name} ({class_of(example)})\n{CLASS_NAMES[said]} {probabilities[place, said]:.1%}",
            example.image,
            lost[place],
            None if slopes is None else slopes.saliency[place],
            None if slopes is None else slopes.integrated[place],
        )
        for place, (example, said) in enumerate(zip(examples, classes, strict=True))
    ]
    attribution_sheet(book.path(_FILE), f"{subject.name}: which pixels its answers hang on", rows)
    if slopes is None:
        book.leave_out("Attribution by gradients", subject.closed_because)
    answered = [
        f"{each.name}, answered {CLASS_NAMES[said]}" for each, said in zip(examples, classes, strict=True)
    ]
    book.add(
        TITLE,
        "Occlusion" if slopes is None else "Occlusion and gradients",
        _FILE,
        alt=f"A row of maps for each image: {'; '.join(answered)}.",
        caption=f"Occlusion: a window of {WINDOW_PX}x{WINDOW_PX} pixels of the mean colour is moved "
        "over the image by "
        f"{STRIDE_PX}; purple pixels are those whose hiding costs the answer probability, averaged over "
        "windows." + ("" if slopes is None else _GRADIENTS),
    )


_GRADIENTS = (
    " Saliency: how strongly the logit follows a pixel. Integrated gradients: each pixel's share in the "
    "logit, "
    "against an image of the mean colour; purple speaks for the answer, orange against it. Both scales "
    "end at the "
    "99th percentile."
)
