"""A one-dimensional convolution that finds edges, with every step of its arithmetic.

Two filters of two values run over a row of brightnesses: (-1, +1) is positive where dark turns to light,
(+1, -1) where light turns to dark. As in every convolutional network the filter is not flipped, so
mathematically this is a correlation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

FILTERS = {"dark to light": (-1.0, 1.0), "light to dark": (1.0, -1.0)}
SIGNAL = (1.0, 8.0, 8.0, 8.0, 2.0)
"""Dark, light, dark: one edge at an even position and one at an odd position."""
LONGEST = 64
"""Most values of a signal, so that numbers and picture stay legible."""


@dataclass(frozen=True)
class EdgeResponses:
    """Outputs of both filters over one signal, at one stride."""

    padded: npt.NDArray[np.float64]
    """The signal with zeros appended, (length,)."""
    stride: int
    outputs: npt.NDArray[np.float64]
    """(filters, places), in the order of FILTERS."""

    @property
    def places(self) -> list[int]:
        """Start of each window in the padded signal."""
        return [index * self.stride for index in range(self.outputs.shape[1])]

    @property
    def rectified(self) -> npt.NDArray[np.float64]:
        """The outputs after ReLU: each channel keeps its own kind of edge only."""
        return np.maximum(self.outputs, 0)


def find_edges(signal: Sequence[float], stride: int, padding: int = 1) -> EdgeResponses:
    """Run both filters over a signal with ``padding`` zeros appended.

    Raises:
        TrainingError: the signal, the stride or the padding is out of range.
    """
    if not 1 <= len(signal) <= LONGEST or not np.isfinite(signal).all():
        raise TrainingError(f"the signal has {len(signal)} values, wanted 1 to {LONGEST} finite numbers")
    if not 0 <= padding <= LONGEST:
        raise TrainingError(f"the padding is {padding}, wanted 0 to {LONGEST} zeros after the signal")
    padded = np.concatenate([np.asarray(signal, np.float64), np.zeros(padding)])
    outputs = convolve(padded[None], np.array(list(FILTERS.values()))[:, None], stride)
    return EdgeResponses(padded, stride, outputs)


def convolve(
    signal: npt.NDArray[np.float64], filters: npt.NDArray[np.float64], stride: int
) -> npt.NDArray[np.float64]:
    """Multiply each window of a signal by each filter, value by value, and add up.

    Args:
        signal: (channels in, length), already padded.
        filters: (channels out, channels in, size).
        stride: distance between the starts of two windows.

    Returns:
        (channels out, places), with places = (length - size) // stride + 1.

    Raises:
        TrainingError: the stride is below 1, or the filter is longer than the signal.
    """
    if stride < 1:
        raise TrainingError(f"the stride is {stride}, wanted 1 or more: with 0 the filter would not move")
    size, length = filters.shape[2], signal.shape[1]
    if size > length:
        raise TrainingError(
            f"the padded signal has {length} values and the filter {size}: "
            "give a longer signal or more padding"
        )
    begins = range(0, length - size + 1, stride)
    return np.array(
        [[(weights * signal[:, begin : begin + size]).sum() for begin in begins] for weights in filters]
    )


def arithmetic(responses: EdgeResponses) -> list[str]:
    """Write every output as a sum of products, one per line."""
    lines = []
    for (name, weights), outputs in zip(FILTERS.items(), responses.outputs, strict=True):
        lines.append(f"{name}, filter ({', '.join(f'{weight:+g}' for weight in weights)})")
        for place, output in zip(responses.places, outputs, strict=True):
            window = responses.padded[place : place + len(weights)]
            products = " ".join(
                f"{weight:+g}*{_bracketed(value)}" for weight, value in zip(weights, window, strict=True)
            )
            last = place + len(weights) - 1
            lines.append(
                f"  values {place} and {last}: {products} = {output:g}, after ReLU {max(output, 0):g}"
            )
    return lines


def missed_edges(responses: EdgeResponses) -> list[int]:
    """Return the positions where neighbouring values differ but the stride skips the window."""
    changes = np.flatnonzero(np.diff(responses.padded)).tolist()
    return [place for place in changes if place not in responses.places]


def _bracketed(value: float) -> str:
    return f"{value:g}" if value >= 0 else f"({value:g})"
