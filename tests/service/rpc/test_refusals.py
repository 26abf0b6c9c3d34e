"""A flood of refusals is a few lines, and none of them is lost from the count."""

from __future__ import annotations

from structlog.testing import capture_logs

from service.rpc.refusals import RefusalLog


def test_a_flood_is_a_line_a_second_and_its_end_is_told() -> None:
    refusals = RefusalLog()

    with capture_logs() as lines:
        for number in range(250):
            refusals.note("call refused", "RESOURCE_EXHAUSTED", number / 100, method="/a/B", reason="full")
            refusals.say_rest(number / 100)
        refusals.note("call refused", "NOT_FOUND", 2.5, method="/a/B", reason="none")
        refusals.say_rest(3.0)
        refusals.say_rest(5.0)

    kinds = [(line["event"], line["status"]) for line in lines]
    assert kinds == [
        *[("call refused", "RESOURCE_EXHAUSTED")] * 3,
        ("call refused", "NOT_FOUND"),
        ("call refused, more of the same", "RESOURCE_EXHAUSTED"),
    ]
    assert [line.get("more_since_the_last_line") for line in lines[:3]] == [None, 99, 99]
    assert lines[-1]["count"] == 49
