"""Snapshots can be added in any order and sent as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from service.observability.metrics.snapshot import (
    BATCHES,
    MAX_RETIRED,
    NO_MODEL,
    MetricValues,
    Snapshot,
    retired,
)
from service.observability.metrics.table import CALLS, COMPUTE, CONNECTIONS, LAST_REQUEST, MODEL, REQUESTS

if TYPE_CHECKING:
    from collections.abc import Iterable

COUNTS = st.integers(0, 1 << 60)
NUMBERS = st.builds(
    MetricValues,
    st.fixed_dictionaries(
        {},
        optional={
            CALLS.name: st.dictionaries(
                st.sampled_from(["A", "B"]), st.dictionaries(st.sampled_from(["OK", "CANCELLED"]), COUNTS)
            ),
            CONNECTIONS.name: COUNTS,
        },
    ),
    st.dictionaries(
        st.tuples(st.sampled_from(["m", "n", ""]), st.sampled_from(["1", "2", ""])),
        st.fixed_dictionaries(
            {},
            optional={
                REQUESTS.name: st.dictionaries(st.sampled_from(["ok", "cancelled"]), COUNTS),
                COMPUTE.name: st.lists(COUNTS, min_size=4, max_size=4),
                BATCHES: st.dictionaries(st.sampled_from("18"), st.lists(COUNTS, min_size=2, max_size=2)),
                LAST_REQUEST.name: COUNTS,
                MODEL.name: st.dictionaries(st.sampled_from(["cpu", "cuda"]), st.just(1)),
            },
        ),
    ),
)


def _sum(all_numbers: Iterable[MetricValues]) -> MetricValues:
    total = MetricValues()
    for numbers in all_numbers:
        total.add(numbers)
    return total


@given(st.lists(NUMBERS, max_size=4), st.randoms())
def test_the_order_of_adding_does_not_matter(numbers: list[MetricValues], random: Any) -> None:
    parts = [_sum(numbers[:2]), _sum(numbers[2:])]
    shuffled = random.sample(numbers, len(numbers))

    assert _sum(numbers) == _sum(parts) == _sum(shuffled)


@given(NUMBERS, NUMBERS)
def test_adding_changes_only_the_total(first: MetricValues, second: MetricValues) -> None:
    before = json.dumps([first.to_json(), second.to_json()])

    total = _sum([first, second])
    total.add(total)

    assert json.dumps([first.to_json(), second.to_json()]) == before


@given(NUMBERS, NUMBERS)
def test_it_arrives_as_it_was_sent(cumulative: MetricValues, current: MetricValues) -> None:
    snapshot = Snapshot(cumulative, current)

    assert Snapshot.from_json(json.loads(json.dumps(snapshot.to_json()))) == snapshot


def test_counts_are_added_and_the_latest_time_is_kept() -> None:
    version = ("colours", "1")
    parts = [
        MetricValues(
            models={version: {REQUESTS.name: {"ok": n}, LAST_REQUEST.name: 100 - n, MODEL.name: {"cpu": 1}}}
        )
        for n in (1, 2)
    ]

    total = _sum(parts)

    assert total.models[version] == {
        REQUESTS.name: {"ok": 3},
        LAST_REQUEST.name: 99,
        MODEL.name: {"cpu": 1},
    }


def test_the_oldest_of_many_retired_versions_are_dropped_and_loaded_ones_never() -> None:
    versions = [NO_MODEL, *(("colours", str(number)) for number in range(1, 41))]

    gone = retired(versions, loaded=[("colours", "1"), ("colours", "40"), ("shades", "1")])

    assert gone == versions[2 : 2 + 38 - MAX_RETIRED]
