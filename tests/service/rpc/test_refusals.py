"""A flood of refusals is a few lines, and none of them is lost from the count."""

from __future__ import annotations

from structlog.testing import capture_logs

from service.rpc.refusals import RefusalLog


def test_a_flood_is_a_line_a_second_and_its_end_is_logged() -> None:
    refusals = RefusalLog()

    with capture_logs() as lines:
        for number in range(250):
            refusals.note("call refused", "RESOURCE_EXHAUSTED", number / 100, dict, method="/a/B")
            refusals.flush(number / 100)
        refusals.note("call refused", "NOT_FOUND", 2.5, lambda: {"reason": "none"}, method="/a/B")
        refusals.flush(3.0)
        refusals.flush(5.0)

    kinds = [(line["event"], line["status"]) for line in lines]
    assert kinds == [
        *[("call refused", "RESOURCE_EXHAUSTED")] * 3,
        ("call refused", "NOT_FOUND"),
        ("call refused, more of the same", "RESOURCE_EXHAUSTED"),
    ]
    assert [line.get("more_since_the_last_line") for line in lines[:3]] == [None, 99, 99]
    assert lines[-1]["count"] == 49
    assert lines[3]["reason"] == "none"


def test_failures_are_logged_and_counted_by_what_failed() -> None:
    refusals = RefusalLog()
    asked = []

    def facts() -> dict[str, str]:
        asked.append(1)
        return {"peer": "here"}

    with capture_logs() as lines:
        for number in range(10):
            for error in (ValueError("a"), KeyError("b")):
                refusals.note("call failed", "INTERNAL", number / 100, facts, error=error)
        refusals.flush(2.0)

    first, second, *rest = lines
    assert [first["error"], second["error"]] == ["ValueError", "KeyError"]
    assert (first["log_level"], first["peer"]) == ("error", "here")
    assert isinstance(first["exc_info"], ValueError)
    assert [(line["error"], line["count"]) for line in rest] == [("ValueError", 9), ("KeyError", 9)]
    assert len(asked) == 2, "what is not told is not worked out"
