"""What people read of answers: lines with bars, and how long a call took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_BAR_WIDTH = 20


class Score(Protocol):
    """A class and its probability."""

    @property
    def label(self) -> str:
        """The class."""

    @property
    def probability(self) -> float:
        """0 to 1."""


def as_lines(name: str, classes: Iterable[Score]) -> str:
    """Write an image's name and a line a class: label, probability, bar."""
    lines = [name]
    for each in classes:
        bar = "█" * round(each.probability * _BAR_WIDTH)
        lines.append(f"  {each.label:<12}{each.probability:>7.1%}  {bar}".rstrip())
    return "\n".join(lines)


def as_timing(parts: Mapping[str, float]) -> str:
    """Write how many milliseconds the parts of a call took in the server."""
    told = ", ".join(f"{name} {part_ms:.3f} ms" for name, part_ms in parts.items())
    return f"server: {told or 'does not tell timings'}"
