"""The protocol of backends: a server, or the models in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from cifar10net.messages import ImageResult, ModelDescription


@dataclass(frozen=True)
class Answer:
    """A backend's answer to one call."""

    results: list[ImageResult]
    """One per image, in order."""
    times_ms: Mapping[str, float]
    """Milliseconds of each phase that happened, in order, and ``total``."""


class Backend(Protocol):
    """Runs models."""

    kind: str
    """``server`` or ``local``."""
    address: str
    """Address of the server, or the paths of the models in this process."""

    async def models(self) -> list[ModelDescription]:
        """List the models, default first. Raises ClientError."""

    async def classify(
        self, images: npt.NDArray[np.uint8], *, model: str, version: str, top_k: int, is_bulk: bool = False
    ) -> Answer:
        """Classify images of the network's size.

        Args:
            images: uint8 (n, 32, 32, 3).
            model: name; empty is the default model.
            version: empty is the newest.
            top_k: classes per image, 1 to 10.
            is_bulk: whether interactive requests take precedence.

        Raises:
            ClientError: there is no such model, or the call failed.
        """

    async def close(self) -> None:
        """Release connections or models."""
