"""Training curves: the columns of a run's ``metrics.jsonl``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Curves = dict[str, npt.NDArray[np.float64]]

LOSSES = ("loss", "validation_loss")
RATES = ("validation_top1", "validation_top3")


def training_curves(rows: Sequence[dict[str, Any]]) -> Curves:
    """Return the columns of the rows of ``Run.metrics``.

    Returns:
        "epoch", and the LOSSES (nats) and RATES (0 to 1) that were measured: (n,), NaN where one is missing.
    """
    columns = {
        name: np.array([row.get(name) for row in rows], np.float64) for name in ("epoch", *LOSSES, *RATES)
    }
    return {name: values for name, values in columns.items() if not np.isnan(values).all()}


def best_epoch(curves: Curves) -> tuple[int, float] | None:
    """Return epoch and value of the highest validation top-1; None if it was never measured."""
    if "validation_top1" not in curves:
        return None
    best = np.nanargmax(curves["validation_top1"])
    return int(curves["epoch"][best]), float(curves["validation_top1"][best])
