"""The columns of metrics.jsonl."""

from __future__ import annotations

import numpy as np

from training.visualize.training_curves import best_epoch, training_curves


def test_columns_are_collected_and_what_was_not_measured_is_not_a_number() -> None:
    told = training_curves(
        [
            {"epoch": 1, "loss": 2.0, "validation_top1": 0.5, "seconds": 9.0},
            {"epoch": 2, "loss": 1.0, "validation_top1": None},
            {"epoch": 3, "validation_top1": 0.7},
        ]
    )

    assert told["epoch"].tolist() == [1, 2, 3]
    assert set(told) == {"epoch", "loss", "validation_top1"}
    np.testing.assert_array_equal(told["loss"], [2, 1, np.nan])
    assert best_epoch(told) == (3, 0.7)
    assert best_epoch(training_curves([{"epoch": 1, "loss": 1.0}])) is None
