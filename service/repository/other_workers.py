"""What the other processes of a server answer with, as they tell a worker that starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Elsewhere:
    """What the other processes of the server answer with."""

    default: str
    """The model that answers requests which name none."""
    versions: Mapping[str, list[int]]
    """By model; none of one that was unloaded by hand."""
    refused: Sequence[Sequence[Any]] = ()
    """Of each version that was refused: name, number, the stamp of its files as text, and why."""

    @property
    def answering(self) -> set[str]:
        """Models that answer."""
        return {name for name, numbers in self.versions.items() if numbers}

    @property
    def unloaded(self) -> list[str]:
        """Models that were unloaded by hand."""
        return [name for name, numbers in self.versions.items() if not numbers]
