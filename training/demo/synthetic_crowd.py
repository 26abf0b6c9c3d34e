"""A crowd of drawn faces in the evening, for people who have no picture at hand.

Out: a grey picture and the box of each face. No face is like another in all its features, and a lit window is
brighter than any of them. The same seed draws the same crowd.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from training.demo.template import Box

if TYPE_CHECKING:
    import numpy.typing as npt

WIDTH, HEIGHT = 480, 320
_COLUMNS, _ROWS = 9, 4
_FACE = 40
"""Side of a face's box in pixels."""
_TOP = 88
_FINER = 4
"""Drawn so many times larger, then averaged: smooth outlines."""
_WINDOW = (20, 12, 150, 76)


def draw_crowd(seed: int = 0) -> tuple[npt.NDArray[np.float64], list[Box]]:
    """Draw the crowd.

    Returns:
        Grey values float (320, 480) of 0 to 1, and the faces' boxes, row by row.
    """
    random = np.random.default_rng(seed)
    image = Image.new("L", (WIDTH * _FINER, HEIGHT * _FINER), 35)
    pen = ImageDraw.Draw(image)
    pen.rectangle([side * _FINER for side in _WINDOW], fill=255)
    boxes = []
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            jitter = random.integers(-4, 5, 2)
            x = 10 + column * 52 + int(jitter[0])
            y = _TOP + row * 58 + int(jitter[1])
            _draw_face(pen, x, y, random)
            boxes.append(Box(x, y, _FACE, _FACE))
    small = image.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    grain = random.normal(0, 0.01, (HEIGHT, WIDTH))
    return np.clip(np.asarray(small, np.float64) / 255 + grain, 0, 1), boxes


def _draw_face(pen: ImageDraw.ImageDraw, x: int, y: int, random: np.random.Generator) -> None:
    """Draw a face with features of its own into the box at (x, y)."""

    def at(*numbers: float) -> list[float]:
        return [_FINER * (value + (x, y)[place % 2]) for place, value in enumerate(numbers)]

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
            pen.ellipse(at(middle - 4.5, eye_y - 4, middle + 4.5, eye_y + 4), outline=10, width=_FINER)
    pen.line(at(20, eye_y + 3, 20 + float(random.uniform(-2, 2)), 29), fill=skin - 50, width=_FINER)
    mouth, smile = float(random.uniform(3, 7)), float(random.uniform(-3, 5))
    bend = (0, 180) if smile > 0 else (180, 360)
    pen.arc(at(20 - mouth, 32 - abs(smile), 20 + mouth, 32 + abs(smile)), *bend, fill=30, width=_FINER)
    if random.random() < 0.3:  # noqa: PLR2004 - some wear a hat
        pen.rectangle(at(8, 0, 32, 8), fill=int(random.integers(20, 230)))
        pen.rectangle(at(3, 7, 37, 10), fill=int(random.integers(20, 230)))
