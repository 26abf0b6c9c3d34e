"""Training curves: the columns of a run's ``metrics.jsonl``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

LOSSES = ("loss", "validation_loss")
RATES = ("validation_top1", "validation_top3")


@dataclass(frozen=True)
class TrainingCurves:
    """Metrics of a run after each epoch."""

    epochs: npt.NDArray[np.int64]
    """(n,)."""
    series: dict[str, npt.NDArray[np.float64]]
    """The LOSSES (nats) and RATES (0 to 1) that were measured, by name: (n,), NaN where one is missing."""

    @property
    def best(self) -> tuple[int, float] | None:
        """Epoch and value of the highest validation top-1; None if it was never measured."""
        top1 = self.series.get("validation_top1")
        if top1 is None:
            return None
        place = int(np.nanargmax(top1))
        return int(self.epochs[place]), float(top1[place])


def training_curves(rows: Sequence[dict[str, Any]]) -> TrainingCurves:
    """Collect the columns of the rows of ``Run.metrics``."""
    series = {
        name: np.array([_number(row.get(name)) for row in rows], np.float64) for name in (*LOSSES, *RATES)
    }
    return TrainingCurves(
        np.array([row["epoch"] for row in rows], np.int64),
        {name: values for name, values in series.items() if not np.isnan(values).all()},
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")
