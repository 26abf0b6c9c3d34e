"""Draws a synthetic crowd of faces at night, as a default image for template matching.

No two faces share all features, and a lit window is brighter than any of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from training.demo.template_matching import Box

if TYPE_CHECKING:
    import numpy.typing as npt

WIDTH, HEIGHT = 480, 320
_COLUMNS, _ROWS = 9, 4
_FACE = 40
"""Side of a face's box in pixels."""
_TOP = 88
_OVERSAMPLE = 4
"""Drawn this many times larger, then averaged, for smooth outlines."""
_WINDOW = (20, 12, 150, 76)


def draw_crowd(seed: int = 0) -> tuple[npt.NDArray[np.float64], list[Box]]:
    """Draw the crowd; the same seed gives the same crowd.

    Returns:
        Grey values float (320, 480) of 0 to 1, and the faces' boxes, row by row.
    """
    random = np.random.default_rng(seed)
    image = Image.new("L", (WIDTH * _OVERSAMPLE, HEIGHT * _OVERSAMPLE), 35)
    pen = ImageDraw.Draw(image)
    pen.rectangle([side * _OVERSAMPLE for side in _WINDOW], fill=255)
    boxes = []
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            jitter = random.integers(-4, 5, 2)
            x = 10 + column * 52 + int(jitter[0])
            y = _TOP + row * 58 + int(jitter[1])
            _draw_face(pen, x, y, random)
            boxes.append(Box(x, y, _FACE, _FACE))
    small = image.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    noise = random.normal(0, 0.01, (HEIGHT, WIDTH))
    return np.clip(np.asarray(small, np.float64) / 255 + noise, 0, 1), boxes


def _draw_face(pen: ImageDraw.ImageDraw, x: int, y: int, random: np.random.Generator) -> None:
    """Draw a face with random features into the box at (x, y)."""

    def at(*numbers: float) -> list[float]:
        return [_OVERSAMPLE * (value + (x, y)[place % 2]) for place, value in enumerate(numbers)]

    skin, hair = int(random.integers(110, 200)), int(random.integers(0, 90))
    pen.rectangle(at(6, 38, 34, 54), fill=int(random.integers(50, 110)))  # shoulders, below the box
    pen.ellipse(at(5, 2, 35, 38), fill=hair)
    wide = float(random.uniform(0, 3))
    pen.ellipse(at(7 - wide / 2, 8, 33 + wide / 2, 39), fill=skin)
    if random.random() < 0.5:  # noqa: PLR2004 - half of them have a fringe
        pen.pieslice(at(7, 4, 33, 26), 180, 360, fill=hair)
    eye_y, apart = float(random.uniform(18, 22)), float(random.uniform(5, 8))
    has_glasses = random.random() < 0.35  # noqa: PLR2004 - a third of them
    for side in (-1, 1):
        middle = 20 + side * apart
        pen.ellipse(at(middle - 2, eye_y - 1.5, middle + 2, eye_y + 1.5), fill=20)
        if has_glasses:
            pen.ellipse(at(middle - 4.5, eye_y - 4, middle + 4.5, eye_y + 4), outline=10, width=_OVERSAMPLE)
    nose = at(20, eye_y + 3, 20 + float(random.uniform(-2, 2)), 29)
    pen.line(nose, fill=skin - 50, width=_OVERSAMPLE)
    mouth, smile = float(random.uniform(3, 7)), float(random.uniform(-3, 5))
    lips = at(20 - mouth, 32 - abs(smile), 20 + mouth, 32 + abs(smile))
    pen.arc(lips, *((0, 180) if smile > 0 else (180, 360)), fill=30, width=_OVERSAMPLE)
    if random.random() < 0.3:  # noqa: PLR2004 - some wear a hat
        pen.rectangle(at(8, 0, 32, 8), fill=int(random.integers(20, 230)))
        pen.rectangle(at(3, 7, 37, 10), fill=int(random.integers(20, 230)))
