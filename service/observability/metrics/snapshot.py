"""What one process or many have counted, as values that can be added up and sent.

In: numbers of a process. Out: their sum over processes. All numbers are integers, times in nanoseconds: a sum
is then the same in whichever order it is made, and a counter never steps back by a rounding. Knows nothing of
who counts nor who asks.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from service.observability.metrics.table import METRICS, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Tree: TypeAlias = "int | list[int] | dict[str, Tree]"
"""A metric's numbers: dicts by its labels one by one, where model and version are not among them; a histogram
is a list, of each bucket alone how much is in it, then the sum of all values."""
Version: TypeAlias = tuple[str, str]
"""A model's name and version."""

NO_MODEL: Version = ("", "")
"""Whose requests ended before their model was known."""
BATCHES = "batches"
"""Beside the metrics, of a model: by batch size a list of how many runs there were and how long they took."""
METRICS_TOPIC = "metrics"
"""A worker answers with its snapshot."""
NEWS_TOPIC = "metrics news"
"""Likewise, once something has been counted that it has not told."""
TOTALS_TOPIC = "totals"
"""A supervisor answers with the whole server's snapshot."""
MOST_RETIRED = 32
"""Versions that are no longer loaded whose numbers are kept; the oldest ones make room."""
_NS = 1_000_000_000
_COMBINE: Mapping[str, Callable[[int, int], int]] = {
    metric.name: max for metric in METRICS if metric.kind in {Kind.LATEST, Kind.INFO}
}


def nanoseconds(seconds: float) -> int:
    """Make a time that can be summed up."""
    return round(seconds * _NS)


@dataclass
class Numbers:
    """Of metrics, by their names."""

    server: dict[str, Tree] = field(default_factory=dict)
    """Those of the server as a whole."""
    models: dict[Version, dict[str, Tree]] = field(default_factory=dict)
    """Those of each version of a model."""

    def add(self, other: Numbers) -> None:
        """Add the numbers of another process."""
        _add(self.server, other.server)
        for version, numbers in other.models.items():
            _add(self.models.setdefault(version, {}), numbers)

    def as_json(self) -> list[Any]:
        """Return what JSON can carry."""
        return [self.server, [[*version, numbers] for version, numbers in self.models.items()]]

    @classmethod
    def of_json(cls, value: list[Any]) -> Numbers:
        """Read what ``as_json`` made."""
        server, models = value
        return cls(server, {(name, version): numbers for name, version, numbers in models})


@dataclass
class Snapshot:
    """What there was to tell at some moment."""

    kept: Numbers = field(default_factory=Numbers)
    """What has been counted, which stays true when the process ends."""
    living: Numbers = field(default_factory=Numbers)
    """How things are in it, which does not."""

    def add(self, other: Snapshot) -> None:
        """Add that of another process that lives."""
        self.kept.add(other.kept)
        self.living.add(other.living)

    def as_json(self) -> list[Any]:
        """Return what JSON can carry."""
        return [self.kept.as_json(), self.living.as_json()]

    @classmethod
    def of_json(cls, value: list[Any]) -> Snapshot:
        """Read what ``as_json`` made."""
        kept, living = value
        return cls(Numbers.of_json(kept), Numbers.of_json(living))


def retired(versions: Iterable[Version], loaded: Iterable[Version]) -> list[Version]:
    """Say which versions' numbers are to be forgotten.

    Args:
        versions: those that have numbers, oldest first.
        loaded: those whose numbers are kept in any case.
    """
    needed = {*loaded, NO_MODEL}
    gone = [version for version in versions if version not in needed]
    return gone[: max(0, len(gone) - MOST_RETIRED)]


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
