"""Loads the test set of ``--data`` into memory: images as the network sees them, with labels.

Forms: a zip or folder with ``test/<class>/<picture>``, the CIFAR-10 archive or its folder, a Parquet file.
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
_MOST_IMAGES = 200_000
"""614 MB of pixels."""


@dataclass(frozen=True)
class LabelledImages:
    """Images and their labels."""

    pixels: npt.NDArray[np.uint8]
    """(n, 32, 32, 3)."""
    labels: tuple[str | int, ...]
    """Class of each image: its name, or its index among a model's labels."""

    def __len__(self) -> int:
        return len(self.labels)

    def indices(self, classes: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the index of each image's label in ``classes``, -1 where it is missing: (n,)."""
        by_name = {label: index for index, label in enumerate(classes)}
        indices = [
            label if isinstance(label, int) and label < len(classes) else by_name.get(str(label), -1)
            for label in self.labels
        ]
        return np.array(indices, np.int64)


def load_test_split(path: Path) -> LabelledImages:
    """Load a test set; takes seconds.

    Raises:
        SourceError: there is no test set, or it or one of its images is damaged.
    """
    read = find_batch(path)
    if read is not None:
        pixels, batch_labels = read_batch(read)
        return LabelledImages(pixels, tuple(batch_labels))
    sources = _open(path)
    images: list[npt.NDArray[np.uint8]] = []
    labels: list[str | int] = []
    for item in prefetch(sources.items()):
        if len(labels) == _MOST_IMAGES:
            raise SourceError(f"{path} has more than {_MOST_IMAGES:,} test images")
        if item.label is None:
            raise SourceError(f"{item.source} has no label")
        try:
            images.append(from_encoded(item.read(), ImageLimits()))
        except ImageError as error:
            raise SourceError(f"{item.source} {error.message}") from error
        labels.append(item.label)
    if not labels:
        raise SourceError(f"{path} has no test images: wanted {_SPLIT}/<class>/<picture>")
    return LabelledImages(np.stack(images).reshape(-1, IMAGE_SIDE, IMAGE_SIDE, 3), tuple(labels))


def _open(path: Path) -> Sources:
    name = str(path)
    if name.lower().endswith(".parquet"):
        return Sources([name], labels=_COLUMN)
    if path.is_dir() and (path / _SPLIT).is_dir():
        return Sources([f"{name}/{_SPLIT}"], labels=FOLDER)
    if path.is_file() and name.lower().endswith(".zip"):
        return Sources([f"{name}/**/{_SPLIT}/*/*"], labels=FOLDER)
    raise SourceError(
        f"{path} is not a test set: wanted a zip or folder with {_SPLIT}/<class>/<picture>, "
        "cifar-10-python.tar.gz or its folder, or a Parquet file"
    )
