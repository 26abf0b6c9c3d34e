"""Images with known, distinct answers, so that an answer to the wrong caller is noticed."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from cifar10net.pb import classifier_pb2 as pb
from tests.service.colours import COLOURS, expected_probabilities

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cifar10net.messages import ClassScore

_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Sample:
    """Some images and what is to be said of each."""

    images: np.ndarray
    """Uint8 (n, 32, 32, 3)."""
    expected: np.ndarray
    """Probabilities (n, 3)."""

    def request(self, **fields: Any) -> pb.ClassifyRequest:
        """Ask for the classes of all images, as raw pixels."""
        return pb.ClassifyRequest(packed_pixels=self.images.tobytes(), **fields)

    def loss(self, response: pb.ClassifyResponse) -> str | None:
        """Say what is wrong with a response; None if it is right."""
        return self.loss_of([result.prediction.classes for result in response.results])

    def loss_of(self, answers: Iterable[Iterable[pb.ClassScore | ClassScore]]) -> str | None:
        """Say what is wrong with the classes of each image; None if they are right."""
        rows = [_row(classes) for classes in answers]
        if len(rows) != len(self.expected):
            return f"{len(rows)} answers to {len(self.expected)} images"
        wrong = ~(
            np.abs(np.array(rows) - self.expected).max(axis=1) <= _TOLERANCE
        )  # also where it is no number
        return f"{wrong.sum()} of {len(rows)} answers are wrong" if wrong.any() else None


class Pictures:
    """A stock of images that all have different answers."""

    def __init__(self, n: int = 8_192) -> None:
        self._random = np.random.default_rng(0)
        colours = self._random.integers(0, 156, (n, 1, 1, 3), np.uint8)
        images = self._random.integers(0, 100, (n, 32, 32, 3), np.uint8) + colours
        self._all = Sample(images, expected_probabilities(images))

    def ever_new(self, n: int) -> Iterator[Sample]:
        """Take ``n`` images at a time, none twice: turned sideways, they are new and their answers known."""
        for shift in range(1, 32):
            for start in range(0, len(self._all.images) - n + 1, n):
                taken = slice(start, start + n)
                images = np.roll(self._all.images[taken], shift, axis=2)
                yield Sample(images, self._all.expected[taken])

    def some(self, n: int) -> Sample:
        """Take ``n`` images that stand together in the stock."""
        start = int(self._random.integers(0, len(self._all.images) - n + 1))
        return Sample(self._all.images[start : start + n], self._all.expected[start : start + n])

    def files(self, n: int, kind: str) -> tuple[list[bytes], Sample]:
        """Make ``n`` picture files of some format."""
        files = []
        for pixels in self.some(n).images:
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, kind)
            files.append(file.getvalue())
        decoded = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
        return files, Sample(decoded, expected_probabilities(decoded))

    def plain(self, side: int) -> tuple[bytes, Sample]:
        """Make a large picture file of one colour, which is the answer's at any size."""
        colour = self._random.integers(0, 256, 3, np.uint8)
        file = io.BytesIO()
        Image.new("RGB", (side, side), tuple(map(int, colour))).save(file, "BMP")
        images = np.broadcast_to(colour, (1, 32, 32, 3))
        return file.getvalue(), Sample(images, expected_probabilities(images))


def _row(classes: Iterable[pb.ClassScore | ClassScore]) -> list[float]:
    """Order probabilities by class; of a class without one, or with another's name, not a number."""
    row = [float("nan")] * len(COLOURS)
    for score in classes:
        if COLOURS[score.index] == score.label:
            row[score.index] = score.probability
    return row
