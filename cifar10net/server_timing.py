"""The server's timing of a call, in the syntax of Server-Timing: https://www.w3.org/TR/server-timing/."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from cifar10net.protocol import TIMING_KEY, TIMING_REQUEST_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OnTiming: TypeAlias = "Callable[[dict[str, float]], None]"
"""Called after each call with the milliseconds that the server spent on it: decode, queue, batch, compute and
total; parts that did not happen are left out."""
TIMING_REQUEST = ((TIMING_REQUEST_KEY, "1"),)
"""Request metadata."""


def parse_timing(metadata: Mapping[str, str | bytes]) -> dict[str, float]:
    """Return the parts in milliseconds, by name, from trailing metadata; empty if there are none."""
    parts: dict[str, float] = {}
    for part in str(metadata.get(TIMING_KEY, "")).split(","):
        name, *parameters = (word.strip() for word in part.split(";"))
        for parameter in parameters:
            key, _, duration = parameter.partition("=")
            if key == "dur":
                parts[name] = float(duration)
    return parts
