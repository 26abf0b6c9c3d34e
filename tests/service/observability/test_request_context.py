"""Request ids and trace contexts are read if they are valid, and otherwise ignored."""

from __future__ import annotations

import pytest

from service.observability.request_context import (
    TraceParent,
    is_in_unsampled_trace,
    new_request_id,
    sent_names,
    sent_request_id,
    sent_trace_parent,
)

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"


@pytest.mark.parametrize("sent", ["1", "order 66/b", "~" * 128])
def test_a_request_id_is_taken_as_it_is(sent: str) -> None:
    assert sent_request_id({b"x-request-id": sent.encode()}) == sent


@pytest.mark.parametrize("sent", [b"", b"a" * 129, b"a\tb", b"\x1b[31m", "ä".encode(), b"a\nb", b"a\n"])
def test_a_request_id_that_would_spoil_the_log_counts_as_none(sent: bytes) -> None:
    assert sent_request_id({b"x-request-id": sent}) is None


def test_request_ids_that_are_made_up_differ_and_are_valid() -> None:
    made = {new_request_id() for _ in range(1_000)}

    assert len(made) == 1_000
    assert all(sent_request_id({b"x-request-id": each.encode()}) == each for each in made)


@pytest.mark.parametrize(
    ("flags", "is_sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)]
)
def test_a_traceparent_is_read(flags: str, is_sampled: bool) -> None:  # noqa: FBT001 - of the table
    sent = f"00-{TRACE_ID}-{SPAN_ID}-{flags}".encode()

    assert sent_trace_parent({b"traceparent": sent}) == TraceParent(TRACE_ID, SPAN_ID, is_sampled)
    assert is_in_unsampled_trace({b"traceparent": sent}) is not is_sampled


def test_later_versions_of_traceparent_may_say_more() -> None:
    sent = f"01-{TRACE_ID}-{SPAN_ID}-01-and-more".encode()

    assert sent_trace_parent({b"traceparent": sent}) == TraceParent(TRACE_ID, SPAN_ID, is_sampled=True)
    assert not is_in_unsampled_trace({b"traceparent": sent})
    assert not is_in_unsampled_trace({})


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "hello",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"00-{TRACE_ID}-{SPAN_ID}-01 ",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{TRACE_ID}-{SPAN_ID}-0g",
    ],
)
def test_a_traceparent_that_is_malformed_counts_as_none(sent: str) -> None:
    assert sent_trace_parent({b"traceparent": sent.encode()}) is None


def test_only_ids_that_were_sent_are_logged() -> None:
    assert sent_names({}, reason="why") == {"reason": "why"}
    assert sent_names({b"x-request-id": b"7", b"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-00".encode()}) == {
        "request_id": "7",
        "trace_id": TRACE_ID,
    }
