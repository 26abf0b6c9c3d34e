"""Tests of reading and checking h2load's output."""

from __future__ import annotations

import pytest

from benchmarks.h2load import Totals, check_totals, read_log, read_totals
from benchmarks.load import LoadError

PRINTED = """\
starting benchmark...
finished in 1.58s, 778.62 req/s, 59.51KB/s
requests: 1233 total, 1233 started, 1233 done, 1233 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 1233 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 159.36KB (163180) total, 26.93KB (27577) headers (space savings 85.43%), 91.51KB (93708) data
"""


def test_the_summary_is_read() -> None:
    assert read_totals(PRINTED) == Totals(calls=1233, succeeded=1233, data_bytes=93708)


def test_a_summary_that_looks_different_is_refused() -> None:
    with pytest.raises(LoadError, match="did not print its summary"):
        read_totals(PRINTED.replace("traffic", "bytes"))


def test_the_log_gives_exact_times() -> None:
    load = read_log("1000000\t200\t2000\n1000500\t200\t4000\n1002000\t200\t3000\n")

    assert load.calls == 3
    assert load.seconds == pytest.approx(0.005)
    assert load.p50_ms == pytest.approx(3.0)


@pytest.mark.parametrize("log", ["", "1000000\t200\t2000\n1000500\t503\t4000\n", "1000000\t-1\t0\n"])
def test_a_log_with_failed_calls_or_none_is_refused(log: str) -> None:
    with pytest.raises(LoadError, match="HTTP status other than 200"):
        read_log(log)


def test_totals_that_match_pass() -> None:
    check_totals(Totals(1233, 1233, 93708), logged=1233, answer_bytes=71)


@pytest.mark.parametrize(
    ("totals", "logged", "reason"),
    [
        (Totals(1233, 1232, 93708), 1233, "1232 succeeded"),
        (Totals(1233, 1233, 93708), 1230, "1230 were logged"),
        (Totals(1233, 1233, 93708 - 76), 1233, "wanted 93708"),
    ],
)
def test_totals_that_do_not_match_are_refused(totals: Totals, logged: int, reason: str) -> None:
    with pytest.raises(LoadError, match=reason):
        check_totals(totals, logged, answer_bytes=71)
