"""Reads the timing that a server sends behind an answer, in the syntax of W3C's Server-Timing.

https://www.w3.org/TR/server-timing/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar10net.protocol import TIMING_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping


def read(metadata: Mapping[str, str | bytes]) -> dict[str, float]:
    """Find the parts by name, in milliseconds, in an answer's trailing metadata; none if they are untold."""
    parts: dict[str, float] = {}
    for part in str(metadata.get(TIMING_KEY, "")).split(","):
        name, *parameters = (word.strip() for word in part.split(";"))
        for parameter in parameters:
            key, _, duration = parameter.partition("=")
            if key == "dur":
                parts[name] = float(duration)
    return parts
