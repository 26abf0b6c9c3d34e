"""The images that are looked at one by one: some of different classes, or those that were asked for."""

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
    """Short, for titles: where it is from."""
    image: npt.NDArray[np.uint8]
    """(32, 32, 3)."""
    label: int | None
    """None where nobody said what it shows."""


def choose(split: Split, wanted: Sequence[str]) -> list[Example]:
    """Return the images that were asked for, or some of different classes, the same at each call.

    Args:
        split: whose images can be asked for by index.
        wanted: indices and paths of pictures; none means some of the split.

    Raises:
        DataError: there is no such index, or the file is no picture.
    """
    if not wanted:
        return _seeded(split)
    return [_of_split(split, int(each)) if each.isdecimal() else _of_file(Path(each)) for each in wanted]


def _seeded(split: Split) -> list[Example]:
    generator = np.random.default_rng(_SEED)
    order = generator.permutation(len(split))
    _, first = np.unique(
        split.labels[order], return_index=True
    )  # the first image of each class in that order
    return [_of_split(split, int(order[place])) for place in np.sort(first)[:DEFAULT_EXAMPLES]]


def _of_split(split: Split, index: int) -> Example:
    if index >= len(split):
        raise DataError(f"there is no image {index}: the split has {len(split)}, counted from 0")
    return Example(f"image {index}", split.images[index], int(split.labels[index]))


def _of_file(path: Path) -> Example:
    """Read a picture as a server does: upright, on white, its central square, 32x32."""
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


def class_of(example: Example) -> str:
    """Return the name of what an example shows, or say that nobody knows."""
    return "unlabelled" if example.label is None else CLASS_NAMES[example.label]
