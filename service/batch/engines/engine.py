"""The interface of engines, which turn items into rows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from service.batch.row import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cifar10net.errors import ImageError
    from service.batch.item import Item
    from service.batch.row import TopClass


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


def row_of(
    item: Item, model: str, version: str, classes: tuple[TopClass, ...] = (), error: ImageError | None = None
) -> Row:
    """Make the row of an item, with its classes or its error."""
    label = None if item.label is None else str(item.label)
    if error is None:
        return Row(item.source, classes, model, version, "", "", label)
    return Row(item.source, (), model, version, error.code.name, error.message, label)
