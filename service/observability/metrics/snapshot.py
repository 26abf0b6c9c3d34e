"""Metric values of one process or many, which can be added up and sent as JSON.

All values are integers, times in nanoseconds: their sum does not depend on the order of adding, and a counter
never steps back by a rounding error.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from service.observability.metrics.table import METRICS, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

Tree: TypeAlias = "int | list[int] | dict[str, Tree]"
"""A metric's values: nested dicts, one level a label (model and version are not among them). The value of a
histogram is a list: the count of each bucket alone, then the sum of all observations."""
Version: TypeAlias = tuple[str, str]
"""A model's name and version."""

NO_MODEL: Version = ("", "")
"""Stands for requests that ended before their model was known."""
BATCHES = "batches"
"""Key of a model's runs, beside the metrics: by batch size, a list of their number and their nanoseconds."""
METRICS_TOPIC = "metrics"
"""A worker answers with its snapshot."""
CHANGED_METRICS_TOPIC = "metrics news"
"""A worker answers with its snapshot once it differs from the last one it sent."""
SERVER_METRICS_TOPIC = "totals"
"""The supervisor answers with the snapshot of the whole server."""
MAX_RETIRED = 32
"""How many versions that are not loaded any more are kept; the oldest are dropped."""
_NS = 1_000_000_000
_COMBINE: Mapping[str, Callable[[int, int], int]] = {
    metric.name: max for metric in METRICS if metric.kind in {Kind.LATEST, Kind.INFO}
}


def nanoseconds(seconds: float) -> int:
    """Convert seconds to whole nanoseconds."""
    return round(seconds * _NS)


def seconds(nanoseconds: int) -> float:
    """Convert nanoseconds to seconds."""
    return nanoseconds / _NS


@dataclass
class MetricValues:
    """Values of metrics by name; those without a value are absent."""

    server: dict[str, Tree] = field(default_factory=dict)
    """Metrics of the server as a whole."""
    models: dict[Version, dict[str, Tree]] = field(default_factory=dict)
    """Metrics of each model version."""

    def add(self, other: MetricValues) -> None:
        """Add the values of another process."""
        _add(self.server, other.server)
        for version, values in other.models.items():
            _add(self.models.setdefault(version, {}), values)

    def to_json(self) -> list[Any]:
        """Convert to a JSON value."""
        return [self.server, [[*version, values] for version, values in self.models.items()]]

    @classmethod
    def from_json(cls, value: list[Any]) -> MetricValues:
        """Convert from the result of ``to_json``."""
        server, models = value
        return cls(server, {(name, version): values for name, version, values in models})


@dataclass
class Snapshot:
    """All metric values at one moment."""

    cumulative: MetricValues = field(default_factory=MetricValues)
    """Counters, histograms and times of last events: they outlive the process."""
    current: MetricValues = field(default_factory=MetricValues)
    """Gauges, which end with the process."""

    def add(self, other: Snapshot) -> None:
        """Add the snapshot of another running process."""
        self.cumulative.add(other.cumulative)
        self.current.add(other.current)

    def to_json(self) -> list[Any]:
        """Convert to a JSON value."""
        return [self.cumulative.to_json(), self.current.to_json()]

    @classmethod
    def from_json(cls, value: list[Any]) -> Snapshot:
        """Convert from the result of ``to_json``."""
        return cls(*map(MetricValues.from_json, value))


def leaves(tree: Tree) -> Iterator[tuple[tuple[str, ...], int | list[int]]]:
    """Yield the labels and the value of every sample of a metric."""
    if isinstance(tree, dict):
        for label, inner in tree.items():
            for labels, value in leaves(inner):
                yield (label, *labels), value
    else:
        yield (), tree


def batches(values: Mapping[str, Tree]) -> list[tuple[int, int, int]]:
    """Return batch size, number of runs and their nanoseconds, for each batch size of a model version."""
    found = cast("dict[str, list[int]]", values.get(BATCHES, {}))
    return [(int(size), runs, busy_ns) for size, (runs, busy_ns) in found.items()]


def retired(versions: Iterable[Version], loaded: Iterable[Version]) -> list[Version]:
    """Return the versions to drop.

    Args:
        versions: those that have values, oldest first.
        loaded: those that are never dropped.
    """
    needed = {*loaded, NO_MODEL}
    gone = [version for version in versions if version not in needed]
    return gone[: max(0, len(gone) - MAX_RETIRED)]


def _add(total: dict[str, Tree], more: Mapping[str, Tree]) -> None:
    for name, tree in more.items():
        total[name] = _combined(total.get(name), tree, _COMBINE.get(name, operator.add))


def _combined(old: Tree | None, more: Tree, combine: Callable[[int, int], int]) -> Tree:
    if isinstance(more, dict):
        kept = old if isinstance(old, dict) else {}
        return {**kept, **{label: _combined(kept.get(label), tree, combine) for label, tree in more.items()}}
    if isinstance(more, list):
        return list(map(combine, old, more)) if isinstance(old, list) else list(more)
    return combine(old, more) if isinstance(old, int) else more
