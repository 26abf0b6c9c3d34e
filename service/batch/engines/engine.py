"""The interface of engines, which turn items into rows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from service.batch.item import Item
    from service.batch.row import Row


@dataclass(frozen=True)
class ModelIdentity:
    """The model version that an engine runs or asks."""

    name: str
    version: str
    labels: tuple[str, ...]
    fingerprint: str
    """Tells it from other models of this name; goes into the journal."""


def is_path(model: str) -> bool:
    """Whether ``--model`` names a file or folder rather than a model of a server."""
    return model.endswith(".onnx") or os.sep in model


class Engine(Protocol):
    """Classifies the inputs of a job."""

    def model(self) -> ModelIdentity:
        """Return the model. Raises ClientError."""

    def classify(self, items: Iterable[Item], top_k: int) -> Iterator[Row]:
        """Yield a row for each item, in order; memory is bounded however many there are.

        Raises:
            JobError: the job cannot go on.
            ClientError: the server does not answer, or refuses.
        """
