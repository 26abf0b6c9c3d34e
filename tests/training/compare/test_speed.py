"""Models take turns, and a rate is images by time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from training.compare.speed import measure_speed

if TYPE_CHECKING:
    import numpy.typing as npt

    from training.evaluation.metrics import Predictor

BATCH = np.zeros((64, 32, 32, 3), np.uint8)


def test_models_take_turns_and_each_begins_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = [0.0], []

    def costs(name: str, seconds: float) -> Predictor:
        def predict(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            clock[0] += seconds
            calls.append(name)
            return np.zeros((len(images), 10), np.float32)

        return predict

    monkeypatch.setattr(time, "thread_time", lambda: clock[0])
    turns: list[None] = []

    fast, slow = measure_speed(
        [costs("fast", 0.5), costs("slow", 2.0)],
        BATCH,
        rounds=2,
        turn_s=1.0,
        on_turn=lambda: turns.append(None),
    )

    assert calls == ["fast", "slow", "fast", "fast", "slow", "slow", "fast", "fast"]
    assert fast.median == pytest.approx(128)
    assert slow.median == pytest.approx(32)
    assert (fast.lower_quartile, fast.upper_quartile, fast.rounds) == (fast.median, fast.median, 2)
    assert len(turns) == 4
