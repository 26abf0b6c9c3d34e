"""What every engine can do: items become rows, in their order.

Knows neither models nor servers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from service.batch.item import Item
    from service.batch.row import Row


@dataclass(frozen=True)
class Subject:
    """The model that answers."""

    name: str
    version: str
    labels: tuple[str, ...]
    identity: str
    """What makes it this one and no other."""


def is_path(model: str) -> bool:
    """Whether ``--model`` names a file or folder rather than a model of a server."""
    return model.endswith(".onnx") or os.sep in model


class Engine(Protocol):
    """Classifies the inputs of a job."""

    def subject(self) -> Subject:
        """Say which model answers. Raises ClientError."""

    def classify(self, items: Iterable[Item], top_k: int) -> Iterator[Row]:
        """Yield a row an item, in order; what is in memory at a time is bounded.

        Raises:
            JobError: the job cannot go on.
            ClientError: the server is gone, or refuses.
        """
