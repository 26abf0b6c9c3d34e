"""A one-dimensional convolution that finds edges, with every step of its arithmetic.

In: a row of brightnesses. Out: for each of two filters, what it answers at each place. The filters are two
values long: (-1, +1) answers above zero where dark turns to light, (+1, -1) where light turns to dark. As in
every convolutional network the filter is not mirrored, which mathematicians would call a correlation.
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
"""Dark, then light, then dark: an edge at an even place and one at an odd one."""
LONGEST = 64
"""Values of a signal, so that numbers and picture stay legible."""


@dataclass(frozen=True)
class Convolved:
    """One pass of both filters over a signal."""

    padded: npt.NDArray[np.float64]
    """The signal with zeros behind it, (length,)."""
    stride: int
    outputs: npt.NDArray[np.float64]
    """(filters, places), in the order of FILTERS."""

    @property
    def places(self) -> list[int]:
        """Where in the padded signal each window begins."""
        return [index * self.stride for index in range(self.outputs.shape[1])]

    @property
    def rectified(self) -> npt.NDArray[np.float64]:
        """What ReLU leaves: each channel answers to its own kind of edge alone."""
        return np.maximum(self.outputs, 0)


def find_edges(signal: Sequence[float], stride: int, padding: int = 1) -> Convolved:
    """Slide both filters over a signal with ``padding`` zeros behind it.

    Raises:
        TrainingError: there is nothing to slide over, or the stride or the padding makes no sense.
    """
    if not 1 <= len(signal) <= LONGEST or not np.isfinite(signal).all():
        raise TrainingError(f"the signal has {len(signal)} values, wanted 1 to {LONGEST} finite numbers")
    if not 0 <= padding <= LONGEST:
        raise TrainingError(f"the padding is {padding}, wanted 0 to {LONGEST} zeros behind the signal")
    padded = np.concatenate([np.asarray(signal, np.float64), np.zeros(padding)])
    outputs = convolve(padded[None], np.array(list(FILTERS.values()))[:, None], stride)
    return Convolved(padded, stride, outputs)


def convolve(
    signal: npt.NDArray[np.float64], filters: npt.NDArray[np.float64], stride: int
) -> npt.NDArray[np.float64]:
    """Multiply each window of a signal by each filter, value by value, and add up.

    Args:
        signal: (channels in, length), padded already.
        filters: (channels out, channels in, size).
        stride: steps from a window to the next one.

    Returns:
        (channels out, places), with places = (length - size) // stride + 1.

    Raises:
        TrainingError: the stride is below 1, or the filter is longer than the signal.
    """
    if stride < 1:
        raise TrainingError(f"the stride is {stride}, wanted 1 or more: at 0 the filter would never move on")
    size = filters.shape[2]
    if size > signal.shape[1]:
        raise TrainingError(
            f"the padded signal has {signal.shape[1]} values and the filter {size}: "
            "give a longer signal or more padding"
        )
    places = (signal.shape[1] - size) // stride + 1
    outputs = np.zeros((len(filters), places))
    for channel, weights in enumerate(filters):
        for place in range(places):
            begin = place * stride
            outputs[channel, place] = (weights * signal[:, begin : begin + size]).sum()
    return outputs


def arithmetic(convolved: Convolved) -> list[str]:
    """Write every output as its sum of products, a line each."""
    lines = []
    for name, weights, outputs in zip(FILTERS, FILTERS.values(), convolved.outputs, strict=True):
        lines.append(f"{name}, filter ({', '.join(f'{weight:+g}' for weight in weights)})")
        for place, output in zip(convolved.places, outputs, strict=True):
            window = convolved.padded[place : place + len(weights)]
            products = " ".join(
                f"{weight:+g}*{_bracketed(value)}" for weight, value in zip(weights, window, strict=True)
            )
            last = place + len(weights) - 1
            lines.append(
                f"  values {place} and {last}: {products} = {output:g}, after ReLU {max(output, 0):g}"
            )
    return lines


def edges_passed_by(convolved: Convolved) -> list[int]:
    """Return the places where neighbours differ and which the stride leaves out."""
    changes = np.flatnonzero(np.diff(convolved.padded)).tolist()
    return [place for place in changes if place not in convolved.places]


def _bracketed(value: float) -> str:
    return f"{value:g}" if value >= 0 else f"({value:g})"
