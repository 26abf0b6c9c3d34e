"""Triton's classification extension: the most likely classes as strings such as ``0.912345:3:cat``.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from service.runtime.model import top_k_indices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.batching.queue import Probabilities

_LENGTH = struct.Struct("<I")


class ClassificationWriter:
    """Encodes the most likely classes of one model."""

    def __init__(self, labels: Sequence[str]) -> None:
        """Prepare for the names of the classes by index."""
        self._suffixes = [f":{index}:{label}".encode() for index, label in enumerate(labels)]

    def write(self, rows: Probabilities, classes: int) -> bytes:
        """Encode the most likely ``classes`` of each row, equal ones by index, as a tensor of datatype BYTES.

        Args:
            rows: (n, number of labels).
            classes: 1 to the number of labels.
        """
        best = top_k_indices(rows, classes)
        parts: list[bytes] = []
        for row, order in zip(rows.tolist(), best.tolist(), strict=True):
            for index in order:
                element = b"%.6f%b" % (row[index], self._suffixes[index])
                parts += (_LENGTH.pack(len(element)), element)
        return b"".join(parts)
