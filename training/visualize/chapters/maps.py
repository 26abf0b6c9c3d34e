"""Feature maps of the examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from training.data.cifar10 import CLASS_NAMES
from training.visualize.book import file_name
from training.visualize.drawing.feature_plots import feature_sheet
from training.visualize.examples import class_of
from training.visualize.feature_maps import feature_maps

if TYPE_CHECKING:
    from training.visualize.book import Book

TITLE = "What each layer makes of an image"
_SHAPING = (nn.Flatten, nn.Identity, nn.Dropout)  # give what they are given, another way round


def draw(book: Book) -> None:
    """Draw what each layer gives for each example; the last one's are the answers."""
    network = book.subject.network
    if network is None:
        book.leave_out("Feature maps", book.subject.closed_because)
        return
    layers = [each for each in book.layers[:-1] if not isinstance(each.module, _SHAPING)]
    names = ", ".join(each.name for each in layers)
    for number, example in enumerate(book.looked.examples, start=1):
        file = file_name("features", str(number))
        probabilities = book.subject.predict(example.image[None])[0]
        maps = feature_maps(network, layers, example.image)
        title = f"{book.subject.name} looks at {example.name} ({class_of(example)})"
        feature_sheet(book.path(file), title, example.image, probabilities, maps)
        book.listener.on_images(number, len(book.looked.examples))
        said = CLASS_NAMES[int(probabilities.argmax())]
        book.add(
            TITLE,
            f"{example.name}: {class_of(example)}",
            file,
            alt=f"The image, answered {said} with {probabilities.max():.1%}, and the output of: {names}.",
            caption="A row of maps for each layer, two for many channels, each layer on its own scale: "
            "yellow is "
            "strong; where values have signs, purple is positive and orange negative.",
        )
