"""Accuracy over rows with true labels: top-1, top-3 and the confusion matrix.

Rows whose label is not a class of the model count neither as right nor as wrong, and are reported apart.
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
    """Counts right and wrong answers."""

    def __init__(self, labels: Sequence[str], top_k: int) -> None:
        """Count for a model with these labels, and rows of ``top_k`` classes."""
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
        elif not row.classes:
            self._failed += 1
        else:
            self._confusion[row.label, row.classes[0].label] += 1
            self._in_top3 += any(top.label == row.label for top in row.classes[:_TOP])

    def counts(self) -> dict[str, Any]:
        """Return the counts, JSON-ready, for ``merge`` in another process."""
        return {
            "confusion": [[*pair, n] for pair, n in self._confusion.items()],
            "unknown": dict(self._unknown),
            "unknown_more": self._unknown_more,
            "without": self._without,
            "failed": self._failed,
            "in_top3": self._in_top3,
        }

    def merge(self, counts: dict[str, Any]) -> None:
        """Add the counts of another evaluation."""
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
        """Images with a label of the model, and classified."""
        return self._confusion.total()

    def as_dict(self) -> dict[str, Any]:
        """Return the result, JSON-ready; top-1 and top-3 are fractions of ``images``."""
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
        """Yield the result as lines of text."""
        result = self.as_dict()
        if not result["images"]:
            yield "top-1, top-3: no classified image has a label of the model"
        else:
            top3 = "top-3 needs --top 3" if result["top3"] is None else f"top-3 {result['top3']:.2%}"
            yield f"top-1 {result['top1']:.2%}, {top3} of {result['images']:,} labelled images"
        if self._without:
            yield f"{self._without:,} without a label are not counted"
        if self._unknown:
            named = ", ".join(repr(label) for label in self._unknown)
            more = ", ..." if self._unknown_more else ""
            count = result["unknown_label"]
            yield f"{count:,} with a label that the model does not have are not counted: {named}{more}"
        if result["images"]:
            yield ""
            yield from self._table() if len(self._labels) <= _WIDEST_TABLE else self._most_common()

    def _table(self) -> Iterator[str]:
        """The confusion matrix: a line for each true class, a column for each answer."""
        first = max(len("true, answered"), *map(len, self._labels))
        most = max(self._confusion.values())
        widths = [max(len(label), len(f"{most:,}")) + 2 for label in self._labels]
        heads = zip(self._labels, widths, strict=True)
        yield f"{'true, answered':<{first}}" + "".join(f"{label:>{width}}" for label, width in heads)
        present = {truth for truth, _ in self._confusion}
        for truth in (label for label in self._labels if label in present):
            counts = (self._confusion[truth, answer] for answer in self._labels)
            columns = zip(counts, widths, strict=True)
            line = "".join(f"{f'{count:,}' if count else '.':>{width}}" for count, width in columns)
            yield f"{truth:<{first}}{line}"

    def _most_common(self) -> Iterator[str]:
        """The most common mistakes, where a table would be too wide."""
        wrong = Counter({pair: n for pair, n in self._confusion.items() if pair[0] != pair[1]})
        for (truth, answer), count in wrong.most_common(_MOST_SHOWN):
            yield f"{truth} taken for {answer}: {count:,}"
