"""A test that takes more than five seconds says so by a marker, or fails the run that notices it."""

from __future__ import annotations

import pytest

from tests import costs
from tests.costs import EXEMPT, Reading, complaint
from tests.costs import slowness as measured_slowness


@pytest.mark.parametrize(
    ("later", "cost_s"),
    [
        (Reading(17, 3, 100), 7),  # it waited for itself
        (Reading(17, 3, 106), 1),  # others had the CPUs
        (Reading(17, 8, 106), 6),  # CPU time is its own, whoever else is there
        (Reading(17, 8, None), 6),
    ],
)
def test_a_cost_is_what_an_idle_machine_would_take(later: Reading, cost_s: float) -> None:
    began = Reading(10, 2, None if later.waited_s is None else 100)

    assert began.cost_until(later) == cost_s


def test_the_clocks_run() -> None:
    began = Reading.now()

    assert sum(range(100_000)) > 0
    assert began.cost_until(Reading.now()) > 0


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take this processor for one of the usual speed."""
    monkeypatch.setattr(costs, "slowness", lambda: 1.0)


def test_a_slow_processor_has_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured_slowness() >= 1
    monkeypatch.setattr(costs, "slowness", lambda: 10.0)

    assert complaint(_report(), 49, frozenset()) == ""
    assert "wanted at most 50" in complaint(_report(), 51, frozenset())


def _report(when: str = "call", outcome: str = "passed") -> pytest.TestReport:
    return pytest.TestReport("tests/test_it.py::test_it", ("", 0, ""), {}, outcome, None, when)  # type: ignore[arg-type]


def test_the_message_for_a_slow_test_says_what_to_do() -> None:
    why = complaint(_report(), 5.1, frozenset({"parametrize"}))

    assert why.startswith(
        "the call of tests/test_it.py::test_it took 5.1 s on an idle machine, wanted at most 5"
    )


@pytest.mark.parametrize(
    ("report", "cost_s", "markers"),
    [
        (_report(), 4.9, set()),
        (_report("teardown"), 99, set()),
        (_report("setup"), 29.9, set()),
        (_report(outcome="failed"), 9, set()),
        *((_report(), 9, {marker}) for marker in sorted(EXEMPT)),
    ],
)
def test_nothing_is_said_of_others(report: pytest.TestReport, cost_s: float, markers: set[str]) -> None:
    assert complaint(report, cost_s, frozenset(markers)) == ""


def test_the_run_that_notices_it_fails(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the hooks of this very suite."""
    pytester.makeconftest(
        "from tests.conftest import pytest_runtest_makereport, pytest_runtest_protocol  # noqa: F401"
    )
    pytester.makepyfile("import pytest\ndef test_plain(): pass\n@pytest.mark.slow\ndef test_marked(): pass\n")

    with monkeypatch.context() as patch:
        patch.setattr(costs, "LIMIT_S", 0.0)
        patch.setattr(costs, "SHARED_LIMIT_S", 0.0)
        done = pytester.runpytest_inprocess("-p", "no:cacheprovider")

    done.assert_outcomes(passed=1, errors=1)
