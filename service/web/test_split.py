"""The labelled images of ``--data``: a whole test set in memory, as the network sees it.

In: a zip or a folder with ``test/<class>/<picture>``, the official archive of CIFAR-10 or its folder, or a
Parquet file. Out: pixels, and what each image shows. Knows nothing of models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cifar10net.errors import ImageError
from cifar10net.protocol import IMAGE_SIDE
from service.batch.prefetch import prefetch
from service.batch.sources import FOLDER, Sources
from service.config import ImageLimits
from service.errors import SourceError
from service.images.decode import from_encoded
from service.web.cifar_archive import find_batch, read_batch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

_SPLIT = "test"
_COLUMN = "label"
MOST_IMAGES = 200_000
"""600 MB of pixels."""


@dataclass(frozen=True)
class LabelledImages:
    """Images with what they show."""

    pixels: npt.NDArray[np.uint8]
    """(n, 32, 32, 3)."""
    labels: tuple[str | int, ...]
    """Of each image, by name or by its place among a model's labels."""

    def __len__(self) -> int:
        return len(self.labels)

    def indices(self, classes: Sequence[str]) -> npt.NDArray[np.int64]:
        """Say of each image which of a model's classes it shows; -1 is none of them."""
        places = {label: index for index, label in enumerate(classes)}
        found = [
            label if isinstance(label, int) and label < len(classes) else places.get(str(label), -1)
            for label in self.labels
        ]
        return np.array(found, np.int64)


def load(path: Path) -> LabelledImages:
    """Read a test set. Takes seconds: for a thread.

    Raises:
        SourceError: there is none, or it or one of its images is damaged.
    """
    batch = find_batch(path)
    if batch is not None:
        pixels, labels = read_batch(batch)
        return LabelledImages(pixels, tuple(labels))
    sources = _open(path)
    images: list[npt.NDArray[np.uint8]] = []
    found: list[str | int] = []
    for item in prefetch(sources.items()):
        if len(found) == MOST_IMAGES:
            raise SourceError(f"{path} has more than {MOST_IMAGES:,} test images")
        if item.label is None:
            raise SourceError(f"{item.source} has no label")
        try:
            images.append(from_encoded(item.read(), ImageLimits()))
        except ImageError as error:
            raise SourceError(f"{item.source} {error.message}") from error
        found.append(item.label)
    if not found:
        raise SourceError(f"{path} has no test images: wanted {_SPLIT}/<class>/<picture> in it")
    return LabelledImages(np.stack(images).reshape(-1, IMAGE_SIDE, IMAGE_SIDE, 3), tuple(found))


def _open(path: Path) -> Sources:
    place = str(path)
    if place.lower().endswith(".parquet"):
        return Sources([place], labels=_COLUMN)
    if path.is_dir() and (path / _SPLIT).is_dir():
        return Sources([f"{place}/{_SPLIT}"], labels=FOLDER)
    if path.is_file() and place.lower().endswith(".zip"):
        return Sources([f"{place}/**/{_SPLIT}/*/*"], labels=FOLDER)
    raise SourceError(
        f"{path} is no test set: wanted a zip or folder with {_SPLIT}/<class>/<picture>, "
        "cifar-10-python.tar.gz or its folder, or a Parquet file"
    )
