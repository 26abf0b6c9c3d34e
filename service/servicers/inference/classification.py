"""The classification extension: instead of numbers, the best classes of each image in words.

In: rows of probabilities. Out: texts such as ``0.912345:3:cat``, best first, each behind its length, as a
tensor of datatype BYTES is encoded. Knows nothing of requests.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from service.runtime.model import likeliest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.batching.queue import Probabilities

_LENGTH = struct.Struct("<I")


class Classification:
    """Words for the classes of one model."""

    def __init__(self, labels: Sequence[str]) -> None:
        """Take the names of the classes by index."""
        self._tails = [f":{index}:{label}".encode() for index, label in enumerate(labels)]

    def write(self, rows: Probabilities, classes: int) -> bytes:
        """Encode the ``classes`` best of each row, equal ones by index.

        Args:
            rows: float32 (n, at least ``classes``).
            classes: at least 1.
        """
        best = likeliest(rows, classes)
        parts: list[bytes] = []
        for row, order in zip(rows.tolist(), best.tolist(), strict=True):
            for index in order:
                word = b"%.6f%b" % (row[index], self._tails[index])
                parts += (_LENGTH.pack(len(word)), word)
        return b"".join(parts)
