"""What the other workers of a server serve, as they tell a worker that starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class OtherWorkers:
    """The models of the other workers."""

    default: str
    """The model for requests that name none."""
    versions: Mapping[str, list[int]]
    """Served versions by model; empty for a model that was unloaded by a call."""
    refused: Sequence[Sequence[Any]] = ()
    """Refused versions: name, version, stamp as text, reason."""

    @property
    def answering(self) -> set[str]:
        """Models that are served."""
        return {name for name, numbers in self.versions.items() if numbers}

    @property
    def unloaded(self) -> list[str]:
        """Models that were unloaded by a call."""
        return [name for name, numbers in self.versions.items() if not numbers]
