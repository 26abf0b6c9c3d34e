"""How often the answers are right, where it is known what the inputs are.

In: rows with labels. Out: top-1, top-3 and the confusion of classes, as numbers and as text. What has a label
that the model does not know is told apart, and counts neither as right nor as wrong.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from service.batch.row import Row

_TOP = 3
_WIDEST_TABLE = 20  # classes
_MOST_SHOWN = 10


class Evaluation:
    """Counts rows."""

    def __init__(self, labels: Sequence[str], top_k: int) -> None:
        """Begin to count.

        Args:
            labels: the model's classes.
            top_k: how many of them a row has.
        """
        self._labels = tuple(labels)
        self._known = frozenset(labels)
        self._has_top3 = min(top_k, len(self._labels)) >= min(_TOP, len(self._labels))
        self._confusion: Counter[tuple[str, str]] = Counter()
        self._unknown: Counter[str] = Counter()
        self._unknown_more = 0
        self._without = self._failed = self._in_top3 = 0

    def add(self, row: Row) -> None:
        """Count a row."""
        if row.label is None:
            self._without += 1
        elif row.label not in self._known:
            if row.label in self._unknown or len(self._unknown) < _MOST_SHOWN:
                self._unknown[row.label] += 1
            else:
                self._unknown_more += 1
        elif not row.scores:
            self._failed += 1
        else:
            self._confusion[row.label, row.scores[0].label] += 1
            self._in_top3 += any(score.label == row.label for score in row.scores[:_TOP])

    def counts(self) -> dict[str, Any]:
        """Return what was counted, JSON-ready, for another process' ``merge``."""
        return {
            "confusion": [[*pair, n] for pair, n in self._confusion.items()],
            "unknown": dict(self._unknown),
            "unknown_more": self._unknown_more,
            "without": self._without,
            "failed": self._failed,
            "in_top3": self._in_top3,
        }

    def merge(self, counts: dict[str, Any]) -> None:
        """Add what another one has counted."""
        for truth, answer, n in counts["confusion"]:
            self._confusion[truth, answer] += n
        for label, n in counts["unknown"].items():
            if label in self._unknown or len(self._unknown) < _MOST_SHOWN:
                self._unknown[label] += n
            else:
                self._unknown_more += n
        self._unknown_more += counts["unknown_more"]
        self._without += counts["without"]
        self._failed += counts["failed"]
        self._in_top3 += counts["in_top3"]

    @property
    def images(self) -> int:
        """How many count."""
        return self._confusion.total()

    def facts(self) -> dict[str, Any]:
        """Return all of it, JSON-ready; shares are of the images that count."""
        right = sum(self._confusion[label, label] for label in self._labels)
        n = self.images
        return {
            "images": n,
            "top1": right / n if n else None,
            "top3": self._in_top3 / n if n and self._has_top3 else None,
            "without_label": self._without,
            "unknown_label": self._unknown.total() + self._unknown_more,
            "with_error": self._failed,
            "labels": list(self._labels),
            "confusion": [
                [self._confusion[truth, answer] for answer in self._labels] for truth in self._labels
            ],
        }

    def lines(self) -> Iterator[str]:
        """Say it to people."""
        told = self.facts()
        if not told["images"]:
            yield "top-1, top-3: no image that was classified has a label that the model knows"
        else:
            top3 = "top-3 needs --top 3" if told["top3"] is None else f"top-3 {told['top3']:.2%}"
            yield f"top-1 {told['top1']:.2%}, {top3} of {told['images']:,} labelled images"
        if self._without:
            yield f"{self._without:,} without a label are not counted"
        if self._unknown:
            named = ", ".join(repr(label) for label in self._unknown)
            more = ", ..." if self._unknown_more else ""
            count = told["unknown_label"]
            yield f"{count:,} with a label that the model lacks are not counted: {named}{more}"
        if told["images"]:
            yield ""
            yield from self._table() if len(self._labels) <= _WIDEST_TABLE else self._commonest()

    def _table(self) -> Iterator[str]:
        """A line a true class, a column an answer."""
        first = max(len("true, answered"), *map(len, self._labels))
        most = max(self._confusion.values())
        widths = [max(len(label), len(f"{most:,}")) + 2 for label in self._labels]
        heads = zip(self._labels, widths, strict=True)
        yield f"{'true, answered':<{first}}" + "".join(f"{label:>{width}}" for label, width in heads)
        present = {truth for truth, _ in self._confusion}
        for truth in (label for label in self._labels if label in present):
            counts = (self._confusion[truth, answer] for answer in self._labels)
            cells = zip(counts, widths, strict=True)
            line = "".join(f"{f'{count:,}' if count else '.':>{width}}" for count, width in cells)
            yield f"{truth:<{first}}{line}"

    def _commonest(self) -> Iterator[str]:
        """The commonest mistakes, where a table would be too wide."""
        wrong = Counter({pair: n for pair, n in self._confusion.items() if pair[0] != pair[1]})
        for (truth, answer), count in wrong.most_common(_MOST_SHOWN):
            yield f"{truth} taken for {answer}: {count:,}"
