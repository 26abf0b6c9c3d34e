"""The steps of a graceful shutdown depend on time alone; test_server has connections carry them out."""

from __future__ import annotations

import pytest

from service.http2.graceful_shutdown import GracefulShutdown, Step
from service.http2.timeouts import Timeouts

TIMEOUTS = Timeouts(goaway_s=1, stall_s=30)


def _look(shutdown: GracefulShutdown, now_s: float, **state: bool) -> Step:
    return shutdown.decide(
        now_s, **{"is_closing": False, "is_half_closed": False, "has_unwritten": False, **state}
    )


def test_it_begins_once_and_the_second_goaway_comes_when_the_client_does_not_reply() -> None:
    shutdown = GracefulShutdown(TIMEOUTS)
    assert _look(shutdown, 1_000) is Step.WAIT

    assert shutdown.begin(1_000)
    assert not shutdown.begin(1_000.5)

    assert _look(shutdown, 1_001) is Step.WAIT
    assert _look(shutdown, 1_001.1) is Step.SEND_FINAL_GOAWAY
    assert shutdown.refuse_streams_after(7, 1_001.1)
    assert not shutdown.refuse_streams_after(9, 1_001.2)
    assert shutdown.final_stream_id == 7
    assert _look(shutdown, 2_000) is Step.WAIT  # streams up to 7 are answered, however long they take


@pytest.mark.parametrize(("has_unwritten", "limit_s"), [(False, 1), (True, 30)])
def test_a_client_that_does_not_close_is_aborted(has_unwritten: bool, limit_s: float) -> None:  # noqa: FBT001
    shutdown = GracefulShutdown(TIMEOUTS)
    shutdown.begin(0)
    shutdown.refuse_streams_after(0, 0)
    shutdown.on_half_close(10)

    assert _look(shutdown, 10 + limit_s, is_half_closed=True, has_unwritten=has_unwritten) is Step.WAIT
    assert _look(shutdown, 10.1 + limit_s, is_half_closed=True, has_unwritten=has_unwritten) is Step.ABORT


def test_a_client_that_has_closed_its_side_must_read_its_answers() -> None:
    shutdown = GracefulShutdown(TIMEOUTS)

    assert _look(shutdown, 5, is_closing=True) is Step.WAIT
    assert _look(shutdown, 35, is_closing=True) is Step.WAIT
    assert _look(shutdown, 35.1, is_closing=True) is Step.ABORT_STALLED
