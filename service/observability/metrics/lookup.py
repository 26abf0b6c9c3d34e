"""Finds one's way in the numbers of a snapshot.

In: the numbers of the server, or of one version. Out: those of a metric. What is not there is zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from service.observability.metrics.snapshot import BATCHES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from service.observability.metrics.snapshot import Tree
    from service.observability.metrics.table import Metric

_NS = 1_000_000_000
_NS_A_MS = 1_000_000


def seconds(nanoseconds: int) -> float:
    """Turn a time into what people and programs read."""
    return nanoseconds / _NS


def whole_milliseconds(nanoseconds: int) -> int:
    """Turn a time into what the protocols carry."""
    return nanoseconds // _NS_A_MS


def leaves(tree: Tree) -> Iterator[tuple[tuple[str, ...], int | list[int]]]:
    """Yield every number or histogram with its labels in order; model and version are not among them."""
    if isinstance(tree, dict):
        for label, inner in tree.items():
            for labels, value in leaves(inner):
                yield (label, *labels), value
    else:
        yield (), tree


def counts(numbers: Mapping[str, Tree], metric: Metric) -> dict[tuple[str, ...], int]:
    """Return all counts of a metric by its labels."""
    return {labels: cast("int", value) for labels, value in leaves(numbers.get(metric.name, {}))}


def count(numbers: Mapping[str, Tree], metric: Metric, *labels: str) -> int:
    """Return one of them."""
    return counts(numbers, metric).get(labels, 0)


def spent(numbers: Mapping[str, Tree], metric: Metric, *labels: str) -> tuple[int, int]:
    """Return of a histogram of times how many there are, and the nanoseconds of all of them."""
    for found, value in leaves(numbers.get(metric.name, {})):
        if found == labels:
            *buckets, total_ns = cast("list[int]", value)
            return sum(buckets), total_ns
    return 0, 0


def batches(numbers: Mapping[str, Tree]) -> list[tuple[int, int, int]]:
    """Return of a version's batches each size, how many there were, and the nanoseconds that they took."""
    found = cast("dict[str, list[int]]", numbers.get(BATCHES, {}))
    return [(int(size), runs, busy_ns) for size, (runs, busy_ns) in found.items()]
