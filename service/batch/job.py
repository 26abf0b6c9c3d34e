"""A job: a row for each input, in order, to the caller or through a journal into an output file."""

from __future__ import annotations

import time
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from service.batch.item import with_label_names
from service.batch.journal import Journal, explaining_kept_output, journal_of
from service.batch.output import publish
from service.batch.prefetch import prefetch
from service.batch.row import from_line, to_line
from service.errors import OutputError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from service.batch.engines.engine import Engine, ModelIdentity
    from service.batch.item import Item
    from service.batch.output import OutputFormat
    from service.batch.row import Row
    from service.batch.sources import Sources
    from service.batch.summary import JobSummary

MOST_UNWRITTEN = 256
"""Rows that are classified and not yet in the journal: a process that is killed loses no more."""
_LONGEST_UNWRITTEN_S = 0.5


@dataclass(frozen=True)
class Job:
    """The inputs of a job, and the engine that classifies them."""

    sources: Sources
    engine: Engine
    top_k: int

    def rows(self, labels: Sequence[str] = ()) -> Generator[Row]:
        """Yield a row for each input; ``labels`` are the model's, to name true labels that are indices."""
        yield from self._classify(self.sources.items(), labels)

    def _classify(self, items: Iterator[Item], labels: Sequence[str]) -> Generator[Row]:
        ready = prefetch(with_label_names(items, labels))
        try:
            yield from self.engine.classify(ready, self.top_k)
        finally:
            # Fails while a client's thread waits in it for an input; that thread closes it afterwards.
            with suppress(ValueError):
                ready.close()

    def fill(
        self, journal: Journal[Row], summary: JobSummary, labels: Sequence[str], on_row: Callable[[], None]
    ) -> None:
        """Write the rows that the journal lacks, and count all rows.

        ``on_row`` is called after each write: every 256 rows, or every half second while rows come.

        Raises:
            JobError, ClientError: the job cannot go on; the rows that were written stay.
        """
        items = self.sources.items(journal.rows)
        _skip_done(items, journal, summary)
        summary.begin()
        unwritten: list[Row] = []
        written_s = time.monotonic()
        with closing(self._classify(items, labels)) as rows:
            try:
                for row in rows:
                    unwritten.append(row)
                    summary.add(row)
                    if (
                        len(unwritten) >= MOST_UNWRITTEN
                        or time.monotonic() - written_s > _LONGEST_UNWRITTEN_S
                    ):
                        # Emptied before the write, so that an interruption does not write them twice.
                        now, unwritten = unwritten, []
                        journal.append(now)
                        written_s = time.monotonic()
                        on_row()
            finally:
                if unwritten:
                    journal.append(unwritten)


def _skip_done(items: Iterator[Item], journal: Journal[Row], summary: JobSummary) -> None:
    """Skip the inputs that have rows. Raises SourceError if they are not the same inputs."""
    for number, row in enumerate(journal.replay(), 1):
        item = next(items, None)
        if item is None or item.source != row.source:
            now = "there is no such input now" if item is None else f"the input there is now {item.source}"
            raise SourceError(
                f"row {number:,} of {journal.path} is of {row.source}, and {now}: the inputs have changed; "
                "start again with --overwrite"
            )
        summary.add(row)


@dataclass(frozen=True, kw_only=True)
class Target:
    """The output file."""

    out: Path
    format: OutputFormat
    has_labels: bool = False
    resume: bool = False
    overwrite: bool = False

    def check(self) -> bool:
        """Whether there is something to do: not if ``resume`` finds a finished output.

        Raises:
            OutputError: the output exists, and ``overwrite`` was not asked for.
        """
        if not self.out.exists() or self.overwrite:
            return True
        if self.out.is_dir():
            raise OutputError(f"{self.out} is a folder, wanted a file")
        if not self.resume:
            raise OutputError(f"{self.out} exists already: --overwrite replaces it")
        return journal_of(self.out).exists()


def run(  # noqa: PLR0913 - the parts of a job
    job: Job,
    target: Target,
    model: ModelIdentity,
    summary: JobSummary,
    *,
    facts: dict[str, Any],
    on_row: Callable[[], None],
) -> None:
    """Run a job, or the rest of it, and publish the output.

    ``facts`` identify the job, beside its model, when it is resumed; they are JSON-ready. ``on_row`` is as of
    ``Job.fill``.

    Raises:
        JobError: the job cannot run or go on; the message says which rows are kept.
    """
    identity = facts | {"top": job.top_k, "model": f"{model.name}, {model.fingerprint}"}
    with Journal(
        target.out,
        identity,
        to_line=to_line,
        from_line=from_line,
        resume=target.resume,
        overwrite=target.overwrite,
    ) as journal:
        with explaining_kept_output(partial(_with_rows_kept, journal)):
            job.fill(journal, summary, model.labels, on_row)
        publish(journal, target.out, target.format, job.top_k, has_labels=target.has_labels)


def _with_rows_kept(journal: Journal[Row], reason: str) -> str:
    if not journal.rows:
        journal.remove()
        return reason
    return f"{reason}; {journal.rows:,} rows are kept in {journal.path}, --resume continues from there"
