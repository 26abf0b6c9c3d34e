"""Reads a user's image as grey values, small enough to run a filter over it within seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from training.demo.template_matching import Box
from training.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path

    from training.demo.template_matching import Map

LONGEST_SIDE_PX = 640
_RED_GREEN_BLUE = (0.299, 0.587, 0.114)  # weights of ITU-R BT.601, as in Pillow's mode L


def read_grayscale(path: Path, box: Box) -> tuple[Map, Box]:
    """Read an image, upright, as grey values float (h, w) of 0 to 1.

    Args:
        path: the image.
        box: a part of it, in its own pixels.

    Returns:
        The values and the box, both scaled down if the longer side has more than 640 pixels.

    Raises:
        TrainingError: the image is missing or cannot be read, or the box is outside of it.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise TrainingError(
            f"{path} is not a readable picture ({error}); give a PNG, JPEG or WebP file"
        ) from error
    box.check(*upright.size)
    scale = min(1.0, LONGEST_SIDE_PX / max(upright.size))
    width, height = (max(1, round(side * scale)) for side in upright.size)
    smaller = upright.resize((width, height), Image.Resampling.LANCZOS) if scale < 1 else upright
    edges = (box.x, box.y, box.x + box.width, box.y + box.height)
    left, top, right, bottom = (round(edge * scale) for edge in edges)
    values: Map = np.asarray(smaller, np.float64) / 255 @ np.array(_RED_GREEN_BLUE)
    return values, Box(left, top, right - left, bottom - top)


def parse_box(text: str) -> Box:
    """Parse ``x,y,w,h``. Raises TrainingError unless it is four whole numbers."""
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError as error:
        raise TrainingError(f"the box is {text!r}, wanted x,y,w,h: four whole numbers of pixels") from error
    return Box(x, y, width, height)
