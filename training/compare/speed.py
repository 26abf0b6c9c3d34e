"""Images a second on one core, of several models in turn, so that what disturbs one disturbs all.

In: predictors that compute in the calling thread, and a batch. Out: for each, the rates of the rounds. A rate
counts the processor time of the thread, not the time on the wall: what other programs do to the machine is no
property of a model.
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
    """Images a second of one core; quartiles over ``rounds`` turns."""

    lower_quartile: float
    median: float
    upper_quartile: float
    rounds: int


def measure(
    predictors: Sequence[Predictor],
    batch: npt.NDArray[np.uint8],
    *,
    rounds: int = ROUNDS,
    turn_s: float = TURN_S,
    on_turn: Callable[[], None] = lambda: None,
) -> list[Speed]:
    """Let each predictor answer ``batch`` for about ``turn_s`` seconds, ``rounds`` times around.

    Args:
        predictors: each computes in the thread that calls it.
        batch: uint8 (n, 32, 32, 3).
        rounds: 2 or more turns for each; each round begins with another predictor.
        turn_s: processor time of a turn; one batch at least is answered.
        on_turn: told after each turn.
    """
    for predict in predictors:
        predict(batch)  # memory is allocated, weights are laid out
    rates: list[list[float]] = [[] for _ in predictors]
    for first in range(rounds):
        for place in range(len(predictors)):
            index = (first + place) % len(predictors)
            rates[index].append(_rate(predictors[index], batch, turn_s))
            on_turn()
    return [_speed(each) for each in rates]


def _rate(predict: Predictor, batch: npt.NDArray[np.uint8], turn_s: float) -> float:
    images, began, spent = 0, time.thread_time(), 0.0
    while images == 0 or spent < turn_s:
        predict(batch)
        images += len(batch)
        spent = time.thread_time() - began
    return images / spent


def _speed(rates: list[float]) -> Speed:
    low, middle, high = statistics.quantiles(rates, n=4, method="inclusive")
    return Speed(low, middle, high, len(rates))
