"""Makes up a test set and training runs for screenshots, since CIFAR-10 may not be redistributed.

The images are cut from the sample photographs, which may be redistributed; classes without a sample are
drawn. The runs have realistic curves.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

SAMPLES = Path(__file__).parent.parent / "examples" / "images"
_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_SIDE = 32


def write_test_images(folder: Path, of_each: int) -> None:
    """Write ``folder``/test/CLASS/NUMBER.png: 32x32 cuts of samples, and drawings."""
    generator = np.random.default_rng(0)
    for label in _CLASSES:
        (folder / "test" / label).mkdir(parents=True)
        for number, image in zip(range(of_each), _pictures(label, generator), strict=False):
            image.save(folder / "test" / label / f"{number:04}.png")


def _pictures(label: str, generator: np.random.Generator) -> Iterator[Image.Image]:
    files = sorted(SAMPLES.glob(f"{label}*"))
    while True:
        if files:
            file = files[int(generator.integers(len(files)))]
            with Image.open(file) as opened:
                yield _cut(opened.convert("RGB"), generator)
        else:
            yield _drawing(label, generator)


def _cut(picture: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Cut a square out of the middle of a picture, slightly shifted and rotated."""
    side = min(picture.size) * generator.uniform(0.75, 1)
    left, top = ((size - side) / 2 * generator.uniform(0.7, 1.3) for size in picture.size)
    picture = picture.rotate(float(generator.uniform(-8, 8)), fillcolor=picture.getpixel((2, 2)))
    cut = picture.crop((int(left), int(top), int(left + side), int(top + side)))
    cut = cut.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if generator.random() < 0.5 else cut  # noqa: PLR2004 - half


def _drawing(label: str, generator: np.random.Generator) -> Image.Image:
    """Draw a frog or a truck from a few shapes."""
    large = Image.new("RGB", (256, 256), tuple(map(int, generator.integers(150, 230, 3))))
    pen = ImageDraw.Draw(large)
    x, y = map(int, generator.integers(-20, 20, 2))
    if label == "frog":
        green = tuple(map(int, generator.integers((50, 110, 30), (110, 170, 70))))
        pen.ellipse((40 + x, 90 + y, 216 + x, 220 + y), fill=green)
        for eye in (70, 150):
            pen.ellipse((eye + x, 60 + y, eye + 40 + x, 110 + y), fill=green)
            pen.ellipse((eye + 12 + x, 72 + y, eye + 28 + x, 92 + y), fill=(20, 20, 10))
    else:
        paint = tuple(map(int, generator.integers(30, 200, 3)))
        pen.rectangle((20 + x, 70 + y, 165 + x, 180 + y), fill=paint)
        pen.rectangle((170 + x, 105 + y, 235 + x, 180 + y), fill=(180, 40, 40))
        pen.rectangle((190 + x, 115 + y, 228 + x, 145 + y), fill=(190, 220, 240))
        for wheel in (45, 110, 185):
            pen.ellipse((wheel + x, 165 + y, wheel + 38 + x, 203 + y), fill=(25, 25, 25))
    return large.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)


class MadeRun:
    """The folder of a made-up training run, as ``cifar10net-train fit`` writes it."""

    def __init__(self, folder: Path, network: str, epochs: int, *, best: float, pace: float) -> None:
        """Begin a run whose accuracy approaches ``best``, the faster the larger ``pace``."""
        self.folder = folder
        self._best, self._pace, self._epochs = best, pace, epochs
        self._generator = np.random.default_rng(sum(folder.name.encode()))
        self._noise = self._generator.normal(0, 0.12, (16, 3, 5, 5))
        self.epochs_done = 0
        (folder / "filters").mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"network": network, "epochs": epochs}))
        (folder / "metrics.jsonl").write_text("")

    def go_on(self, epochs: int) -> Self:
        """Add some epochs."""
        for _ in range(epochs):
            self.epochs_done += 1
            np.save(self.folder / "filters" / f"{self.epochs_done:05}.npy", self._filters())
            with (self.folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(self._row()) + "\n")
        return self

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Lock the folder as a training process does."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _near(self) -> float:
        """Return how near the accuracy is to its best, 0 to 1."""
        return 1 - math.exp(-self._pace * self.epochs_done**0.8)

    def _row(self) -> dict[str, Any]:
        near, noise = self._near(), self._generator.normal(0, 1, 5)
        top1 = 0.2 + (self._best - 0.2) * near + 0.004 * noise[0]
        loss = 2.2 - (2.2 - 3.2 * (1 - self._best)) * near
        return {
            "epoch": self.epochs_done,
            "loss": loss - 0.25 * near + 0.01 * noise[1],
            "validation_loss": loss + 0.012 * noise[2],
            "validation_top1": top1,
            "validation_top3": top1 + 0.8 * (1 - top1) ** 1.2,
            "learning_rate": 0.003 * math.sin(math.pi * min(1, (self.epochs_done + 3) / (self._epochs + 4))),
            "seconds": 14 + 0.4 * noise[3],
            "images_per_s": 3400 + 90 * noise[4],
        }

    def _filters(self) -> npt.NDArray[np.float32]:
        """Return filters in which coloured edges and spots emerge from noise."""
        places = np.arange(5) - 2.0
        across, down = np.meshgrid(places, places)
        filters = np.empty((16, 3, 5, 5))
        for index in range(16):
            turn, wave = index * math.pi / 8, 0.9 + 0.3 * (index % 3)
            along = across * math.cos(turn) + down * math.sin(turn)
            shape = np.exp(-(across**2 + down**2) / 5) * np.cos(wave * along + index)
            tint = np.array([1.0, 1.0, 1.0]) if index % 2 else np.roll([1.0, 0.1, -0.8], index)
            filters[index] = 0.35 * tint[:, None, None] * shape
        near = self._near()
        return (near * filters + (1 - near) * self._noise + 0.15 * near * self._noise).astype(np.float32)
