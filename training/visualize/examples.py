"""The images that a report shows one by one: a few of different classes, or those the user named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from training.data.cifar10 import CLASS_NAMES, IMAGE_SHAPE
from training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from training.data.dataset import Split

DEFAULT_EXAMPLES = 4
_SEED = 0
_SIDE = IMAGE_SHAPE[0]


@dataclass(frozen=True)
class Example:
    """One image."""

    name: str
    """Its number in the split or its file name, for titles."""
    image: npt.NDArray[np.uint8]
    """(32, 32, 3)."""
    label: int | None
    """None if unknown."""

    @property
    def class_name(self) -> str:
        """Name of the class, or "unlabelled"."""
        return "unlabelled" if self.label is None else CLASS_NAMES[self.label]


def choose_examples(split: Split, wanted: Sequence[str]) -> list[Example]:
    """Return the named images, or four of different classes, the same ones in each call.

    Args:
        split: the images that indices refer to.
        wanted: indices and paths of image files; may be empty.

    Raises:
        DataError: an index is out of range, or a file is not a readable image.
    """
    if not wanted:
        order = np.random.default_rng(_SEED).permutation(len(split))
        _, first = np.unique(split.labels[order], return_index=True)  # the first image of each class
        wanted = [str(order[place]) for place in np.sort(first)[:DEFAULT_EXAMPLES]]
    return [_of_split(split, int(each)) if each.isdecimal() else _of_file(Path(each)) for each in wanted]


def _of_split(split: Split, index: int) -> Example:
    if index >= len(split):
        raise DataError(f"there is no image {index}: the split has {len(split)}, counted from 0")
    return Example(f"image {index}", split.images[index], int(split.labels[index]))


def _of_file(path: Path) -> Example:
    """Read an image as the server does: upright, on white, its central square, 32x32."""
    try:
        with Image.open(path) as opened:
            opened.draft(None, (2 * _SIDE, 2 * _SIDE))  # JPEG only: decoded at a reduced size
            picture = ImageOps.exif_transpose(opened).convert("RGBA")
    except FileNotFoundError as error:
        raise DataError(f"no picture at {path}: give a number of the split or an image file") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} is not a readable picture ({reason})") from error
    on_white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    side = min(on_white.size)
    left, top = (on_white.width - side) / 2, (on_white.height - side) / 2
    fitted = on_white.resize(
        (_SIDE, _SIDE), Image.Resampling.BICUBIC, (left, top, left + side, top + side), reducing_gap=3.0
    )
    return Example(path.name, np.array(fitted), None)
