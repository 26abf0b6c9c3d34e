"""CIFAR-10 in memory: pixels and labels of a split, and the held-out validation images.

In: the path given by ``--data``, or none for the official download. Out: ``Split`` of uint8 images
(n, 32, 32, 3) and int64 labels (n,). Decoded pixels are kept in a cache file, so that a second start
takes a moment. Knows nothing of augmentation or normalisation.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import platformdirs

from training.atomic_files import replacing
from training.data.download import official_archive
from training.data.sources import CLASS_NAMES, IMAGE_SHAPE, Source, SplitName, open_source
from training.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

_CACHE_FORMAT = "1"
_VALIDATION_SEED = 20_090_408  # fixed for ever: the date of the CIFAR-10 report

__all__ = ["CLASS_NAMES", "IMAGE_SHAPE", "DataSet", "Split", "hold_out"]


@dataclass(frozen=True)
class Split:
    """Images uint8 (n, 32, 32, 3), row by row, RGB; labels int64 (n,), indices of CLASS_NAMES."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice | npt.NDArray[np.int64]) -> Split:
        return Split(self.images[index], self.labels[index])

    def digest(self) -> str:
        """SHA-256 of pixels and labels, whatever file they came from."""
        sha256 = hashlib.sha256(np.ascontiguousarray(self.images).tobytes())
        sha256.update(self.labels.astype(np.uint8).tobytes())
        return sha256.hexdigest()


class DataSet:
    """CIFAR-10 at one path, decoded once."""

    def __init__(self, path: Path | None, cache_dir: Path | None = None) -> None:
        """Open the data set.

        Args:
            path: official archive or its folder, image folder or zip; None downloads the official
                archive to ``cache_dir``.
            cache_dir: where downloads and decoded pixels are kept; None is the user's cache folder.

        Raises:
            DataError: nothing usable is at ``path``, or the download failed.
        """
        self.cache_dir = cache_dir or platformdirs.user_cache_path("cifar10net")
        self._source: Source = open_source(path or official_archive(self.cache_dir))

    def description(self) -> str:
        """What the data is, for reports."""
        return self._source.description()

    def split(self, name: SplitName) -> Split:
        """Read a split, from the decoded cache where it is fresh.

        Raises:
            DataError: the split is missing, empty or damaged; the message names the file.
        """
        path = self._cache_path(name)
        if path.exists():
            try:
                with path.open("rb") as file, np.load(file) as arrays:
                    return Split(arrays["images"], arrays["labels"])
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                path.unlink(missing_ok=True)  # a damaged cache is only a slow start
        images, labels = self._source.read(name)
        with replacing(path) as cache:
            np.savez(cache, images=images, labels=labels)
        return Split(images, labels)

    def _cache_path(self, name: SplitName) -> Path:
        key = hashlib.sha256(_CACHE_FORMAT.encode())
        for line in self._source.identity():
            key.update(os.fsencode(f"{line}\n"))  # file names need not be UTF-8
        return self.cache_dir / f"decoded-{key.hexdigest()[:16]}-{name}.npz"


def hold_out(split: Split, per_class: int) -> tuple[Split, Split]:
    """Divide a split into (kept, held out), with ``per_class`` images of each class held out.

    The choice depends on nothing but the labels and a fixed seed, so every run of every network
    validates on the same images.

    Raises:
        DataError: some class has no image left to keep.
    """
    generator = np.random.default_rng(_VALIDATION_SEED)
    held = np.zeros(len(split), bool)
    for index, label in enumerate(CLASS_NAMES):
        members = np.flatnonzero(split.labels == index)
        if len(members) <= per_class:
            raise DataError(
                f"class {label} has {len(members)} training images, wanted more than the "
                f"{per_class} to hold out for validation; lower --validation-per-class"
            )
        held[generator.choice(members, per_class, replace=False)] = True
    return split[np.flatnonzero(~held)], split[np.flatnonzero(held)]
