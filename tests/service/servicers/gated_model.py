"""A model that waits until a test lets it answer."""

from __future__ import annotations

import threading

import numpy as np

from service.runtime.model import ModelInfo


class GatedModel:
    """Sets ``entered`` when it is run, and answers once ``opened`` is set."""

    info = ModelInfo("gated", 1, ("a", "b", "c"), "CPUExecutionProvider", {})

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return equal probabilities."""
        self.entered.set()
        assert self.opened.wait(60)
        return np.full((len(images), 3), 1 / 3, np.float32)

    def close(self) -> None:
        """Do nothing: the model holds nothing."""
