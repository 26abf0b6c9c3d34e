"""CIFAR-10 as data: its classes, the shape of an image, and its two splits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
    """Images uint8 (n, 32, 32, 3), RGB, row by row; labels int64 (n,), indices of CLASS_NAMES."""

SplitName = Literal["train", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "test")
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGE_SHAPE = (32, 32, 3)
