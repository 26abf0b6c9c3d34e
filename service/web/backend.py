"""Who answers for models: a server, or this process. What both can do, and what they say.

Knows neither of them.
"""

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
    """What was said of some images."""

    results: list[ImageResult]
    times_ms: Mapping[str, float]
    """How long the parts of the call took, in order; those that did not happen are left out."""


class Answers(Protocol):
    """Somebody who answers."""

    kind: str
    """``server`` or ``local``."""
    address: str
    """Of the server, or which models are in this process."""

    async def models(self) -> list[ModelDescription]:
        """List the models, default first. Raises ClientError."""

    async def classify(
        self, images: npt.NDArray[np.uint8], *, model: str, version: str, top_k: int, is_bulk: bool = False
    ) -> Answer:
        """Classify images of the network's size.

        Args:
            images: uint8 (n, 32, 32, 3).
            model: its name; empty is the default.
            version: of it; empty is the newest.
            top_k: classes an image, 1 to 10.
            is_bulk: whether somebody else's pictures go first.

        Raises:
            ClientError: there is no such model, or no answer.
        """

    async def close(self) -> None:
        """Let go of what it holds."""
