"""Images and patches that excite the channels of pooling layers most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.visualize.book import file_name
from training.visualize.drawing.patch_sheets import patches, whole_images
from training.visualize.fields import receptive_field
from training.visualize.layers import last_pooling
from training.visualize.top_activations import peaks

if TYPE_CHECKING:
    from training.visualize.book import Book
    from training.visualize.fields import Field
    from training.visualize.layers import Layer
    from training.visualize.top_activations import Peaks

TITLE = "What excites its channels"
_STRONGEST = 9
_MOST_LAYERS = 3


def draw(book: Book) -> None:
    """Search the images for what excites each channel; the layer that is projected is searched, too."""
    network, layers = book.subject.network, _layers(book)
    if network is None or not layers:
        book.leave_out("What excites channels", book.subject.closed_because or "no layer has feature maps")
        return
    images = book.looked.split.images
    every = {each.name: each for each in (*layers, book.projected) if each is not None}
    book.peaks = peaks(
        network,
        list(every.values()),
        images,
        _STRONGEST,
        lambda done: book.listener.on_images(done, len(images)),
    )
    book.numbers["excitation"] = {}
    for layer in layers:
        _draw_layer(book, layer, book.peaks[layer.name], receptive_field(network, layer))


def _layers(book: Book) -> list[Layer]:
    if book.layer is not None:
        return [book.layer]
    pooling = [each for each in book.layers if each.is_pooling][-_MOST_LAYERS:]
    last = last_pooling(book.layers)
    return pooling or ([] if last is None else [last])


def _draw_layer(book: Book, layer: Layer, found: Peaks, field: Field) -> None:
    images, height, width = book.looked.split.images, *field.size
    for kind, picture in (("patches", patches), ("images", whole_images)):
        file = file_name("excitation", layer.name, kind)
        what = f"the {kind} that excite each channel most"
        picture(book.path(file), f"{book.subject.name}, {layer.name}: {what}", found, field, images)
        book.add(
            TITLE,
            f"{layer.name}: {what}",
            file,
            alt=f"Strips of up to {found.values.shape[1]} {kind} for the channels of {layer.name}, "
            "strongest first.",
            caption=f"Of {len(images):,} images, each counted once at its strongest place. A value of "
            f"{layer.name} "
            f"sees at most {width}x{height} pixels; at the border of the image the patch ends there.",
        )
    book.numbers["excitation"][layer.name] = {
        "receptive_field": [height, width],
        "images": book.looked.indices[found.images].tolist(),
        "values": np.round(found.values.astype(np.float64), 5).tolist(),
    }
