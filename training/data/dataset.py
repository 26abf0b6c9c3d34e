"""CIFAR-10 in memory: pixels and labels of a split, and the held-out validation images.

Decoded pixels are cached in a file: decoding 60,000 images again would slow down every start.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import platformdirs

from training.data.array_cache import cached
from training.data.cifar10 import CLASS_NAMES
from training.data.download import official_archive
from training.data.sources import open_source
from training.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from training.data.cifar10 import SplitName

_CACHE_FORMAT = "1"
_VALIDATION_SEED = 20_090_408  # never to change; the date of the CIFAR-10 report


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
        """Return the SHA-256 of pixels and labels, which does not depend on the files they came from."""
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
            cache_dir: for downloads and decoded pixels; None is the user's cache folder.

        Raises:
            DataError: ``path`` holds no form of CIFAR-10, or the download failed.
        """
        self.cache_dir = cache_dir or platformdirs.user_cache_path("cifar10net")
        self._source = open_source(path or official_archive(self.cache_dir))

    def description(self) -> str:
        """Describe the data for reports: its form and file name."""
        return self._source.description()

    def split(self, name: SplitName) -> Split:
        """Read a split, from the cache of decoded pixels if that is up to date.

        Raises:
            DataError: the split is missing, empty or damaged; the message names the file.
            WriteError: the cache cannot be written.
        """

        def decode() -> dict[str, npt.NDArray[np.generic]]:
            images, labels = self._source.read(name)
            return {"images": images, "labels": labels}

        return Split(**cached(self._cache_path(name), decode))

    def _cache_path(self, name: SplitName) -> Path:
        key = hashlib.sha256(_CACHE_FORMAT.encode())
        for line in self._source.identity():
            key.update(os.fsencode(f"{line}\n"))  # file names need not be UTF-8
        return self.cache_dir / f"decoded-{key.hexdigest()[:16]}-{name}.npz"


def hold_out(split: Split, per_class: int) -> tuple[Split, Split]:
    """Divide a split into (kept, held out), with ``per_class`` images of each class held out.

    The choice depends only on the labels and a fixed seed, so every run of every network validates on the
    same images.

    Raises:
        DataError: a class would have no image left to train on.
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
