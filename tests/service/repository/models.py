"""Stand-ins for loaded models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from service.config import ServerConfig
from service.repository.served_model import ServedModelFactory
from service.runtime.model import ModelInfo

if TYPE_CHECKING:
    from service.repository.served_model import ServedModel


class StandIn:
    """Answers at once, and knows whether it was closed."""

    def __init__(self, name: str = "net", version: int = 1, sha256: str | None = None) -> None:
        self.info = ModelInfo(name, version, ("a", "b"), "CPUExecutionProvider", {}, sha256=sha256)
        self.is_closed = False

    def run(self, images: np.ndarray) -> np.ndarray:
        return np.full((len(images), 2), 0.5, np.float32)

    def close(self) -> None:
        self.is_closed = True


def served(*models: Any, **settings: Any) -> ServedModel:
    """Make a served model from sessions."""
    return ServedModelFactory(ServerConfig(**settings)).make(models)
