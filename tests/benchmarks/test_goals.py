"""Tests of percentiles, medians and verdicts."""

from __future__ import annotations

import pytest

from benchmarks.goals import Goal, figures
from benchmarks.load import LoadError, summarize


def test_percentiles_are_of_the_latencies_in_milliseconds() -> None:
    load = summarize([n / 1000 for n in range(1, 1002)], 2.0)

    assert load.calls == 1001
    assert load.rate == pytest.approx(500.5)
    assert [load.p50_ms, load.p99_ms, load.p999_ms] == pytest.approx([501, 991, 1000])


def test_a_run_without_an_answer_is_refused_and_says_why() -> None:
    with pytest.raises(LoadError, match="grpc-status 14"):
        summarize([], 2.0, {"grpc-status 14": 3})


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (Goal("rate", "calls/s", [1, 4, 9], at_least=4), True),
        (Goal("rate", "calls/s", [1, 3.9, 9], at_least=4), False),
        (Goal("cost", "us", [1, 4, 9], at_most=4), True),
        (Goal("cost", "us", [4.1], at_most=4), False),
        (Goal("size", "MB", [4]), None),
    ],
)
def test_the_median_decides(goal: Goal, met: bool | None) -> None:  # noqa: FBT001
    assert goal.is_met is met
    assert ("met" in goal.line(), "MISSED" in goal.line()) == (met is True, met is False)


def test_a_line_has_the_spread_and_n() -> None:
    line = Goal("one image a call", "images/s", [1000, 1200, 900], at_least=3300).line()

    assert "1,000 images/s (900 to 1,200)" in line
    assert line.endswith("n=3  MISSED >= 3,300")


def test_what_was_not_measured_is_left_out() -> None:
    found = figures({"unary_1": {"images_per_s": [1.0], "cpu_us_an_image": [2.0]}})

    assert list(found) == ["unary_1.images_per_s", "unary_1.cpu_us_an_image"]


def test_the_stream_is_charged_for_what_the_model_does_not_use() -> None:
    found = figures(
        {"ceiling_64": {"cpu_us_an_image": [150, 170, 160]}, "stream_1": {"cpu_us_an_image": [350.0, 370.0]}}
    )

    assert found["stream_1.cpu_us_beside_model"].values == [190, 210]
    assert found["stream_1.cpu_us_beside_model"].is_met
