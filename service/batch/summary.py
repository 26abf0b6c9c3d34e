"""The summary of a job: images, errors by kind, speed, and accuracy where true labels are known."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.batch.engines.engine import ModelIdentity
    from service.batch.evaluation import Evaluation
    from service.batch.row import Row


class JobSummary:
    """Counts the rows of one job, including those from before it was resumed."""

    def __init__(
        self, evaluation: Evaluation | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.images = 0
        self.resumed = 0
        """Images from before the job was resumed."""
        self.errors: Counter[str] = Counter()
        self._evaluation = evaluation
        self._clock = clock
        self._began_s = clock()

    def add(self, row: Row) -> None:
        """Count a row."""
        self.images += 1
        if row.error:
            self.errors[row.error] += 1
        if self._evaluation is not None:
            self._evaluation.add(row)

    def counts(self) -> dict[str, Any]:
        """Return the counts, JSON-ready, for ``merge`` in another process."""
        evaluated = None if self._evaluation is None else self._evaluation.counts()
        return {"images": self.images, "errors": dict(self.errors), "evaluation": evaluated}

    def merge(self, counts: dict[str, Any]) -> None:
        """Add the counts of another summary."""
        self.images += counts["images"]
        self.errors.update(counts["errors"])
        if self._evaluation is not None:
            self._evaluation.merge(counts["evaluation"])

    def begin(self) -> None:
        """Start the clock; all rows so far count as resumed."""
        self.resumed = self.images
        self._began_s = self._clock()

    @property
    def failed(self) -> int:
        """Images with an error."""
        return self.errors.total()

    @property
    def seconds(self) -> float:
        """Seconds since the clock was started."""
        return self._clock() - self._began_s

    @property
    def images_per_s(self) -> float:
        """Speed since the clock was started."""
        return (self.images - self.resumed) / max(self.seconds, 1e-9)

    def as_dict(self, model: ModelIdentity | None, out: str | None) -> dict[str, Any]:
        """Return the summary, JSON-ready."""
        summary: dict[str, Any] = {
            "images": self.images,
            "classified": self.images - self.failed,
            "errors": dict(self.errors),
            "resumed": self.resumed,
            "seconds": round(self.seconds, 3),
            "images_per_s": round(self.images_per_s, 1),
            "out": out,
        }
        if model is not None:
            summary |= {"model": model.name, "version": model.version}
        if self._evaluation is not None:
            summary["evaluation"] = self._evaluation.as_dict()
        return summary

    def lines(self, out: str | None) -> Iterator[str]:
        """Yield the summary as lines of text."""
        images = "1 image" if self.images == 1 else f"{self.images:,} images"
        earlier = f" ({self.resumed:,} of them earlier)" if self.resumed else ""
        yield f"{images}{earlier} in {self.seconds:.1f} s, {self.images_per_s:,.0f} images/s"
        if self.errors:
            kinds = ", ".join(f"{count:,} {code}" for code, count in self.errors.most_common())
            yield f"{self.failed:,} with an error: {kinds}"
        if out is not None:
            yield f"rows: {out}"
        if self._evaluation is not None:
            yield from self._evaluation.lines()
