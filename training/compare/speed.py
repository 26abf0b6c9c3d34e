"""Images per second on one core, measured for several models in interleaved rounds.

Interleaving spreads disturbances over all models. A rate counts the thread's processor time, not wall time,
so that other programs on the machine do not count against a model.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import numpy.typing as npt

    from training.evaluation.metrics import Predictor

BATCH = 64
ROUNDS = 15
TURN_S = 0.2


@dataclass(frozen=True)
class Speed:
    """Images per second on one core: quartiles over the rounds."""

    lower_quartile: float
    median: float
    upper_quartile: float
    rounds: int


def measure_speed(
    predictors: Sequence[Predictor],
    batch: npt.NDArray[np.uint8],
    *,
    rounds: int = ROUNDS,
    turn_s: float = TURN_S,
    on_turn: Callable[[], None] = lambda: None,
) -> list[Speed]:
    """Run each predictor on ``batch`` for about ``turn_s`` seconds per round.

    Args:
        predictors: each must compute in the calling thread.
        batch: uint8 (n, 32, 32, 3).
        rounds: 2 or more; each round starts with another predictor.
        turn_s: processor time of a turn, of at least one batch.
        on_turn: called after each turn.
    """
    for predict in predictors:
        predict(batch)  # warm-up: allocates memory, packs weights
    rates: list[list[float]] = [[] for _ in predictors]
    for first in range(rounds):
        for place in range(len(predictors)):
            index = (first + place) % len(predictors)
            rates[index].append(_rate(predictors[index], batch, turn_s))
            on_turn()
    quartiles = (statistics.quantiles(each, n=4, method="inclusive") for each in rates)
    return [Speed(low, middle, high, rounds) for low, middle, high in quartiles]


def _rate(predict: Predictor, batch: npt.NDArray[np.uint8], turn_s: float) -> float:
    images, began, spent = 0, time.thread_time(), 0.0
    while images == 0 or spent < turn_s:
        predict(batch)
        images += len(batch)
        spent = time.thread_time() - began
    return images / spent
