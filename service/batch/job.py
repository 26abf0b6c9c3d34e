"""A job from its first input to its last row: sources, engine and journal joined.

In: where inputs come from and who classifies them. Out: rows, one an input and in their order, to whoever
asks or into a journal that outlives the process. Knows nothing of the forms of sources and outputs.
"""

from __future__ import annotations

import time
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cifar10net.errors import ClientError
from service.batch.item import named
from service.batch.journal import Journal, journal_of
from service.batch.output import publish
from service.batch.prefetch import ahead
from service.batch.row import from_line, to_line
from service.errors import JobError, OutputError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from service.batch.engines.engine import Engine, Subject
    from service.batch.item import Item
    from service.batch.output import Form
    from service.batch.row import Row
    from service.batch.sources import Sources
    from service.batch.summary import Tally

MOST_UNWRITTEN = 256
"""Rows that are done and not yet in the journal: what a kill may have to be done again."""
_LONGEST_UNWRITTEN_S = 0.5


@dataclass(frozen=True)
class Job:
    """What is to be done."""

    sources: Sources
    engine: Engine
    top_k: int

    def rows(self, labels: Sequence[str] = ()) -> Generator[Row]:
        """Yield a row an input; labels that are numbers are names of the model's classes."""
        yield from self._classify(self.sources.items(), labels)

    def _classify(self, items: Iterator[Item], labels: Sequence[str]) -> Generator[Row]:
        ready = ahead(named(items, labels))
        try:
            yield from self.engine.classify(ready, self.top_k)
        finally:
            # A client's thread may be in it and wait for an input; it closes it after that.
            with suppress(ValueError):
                ready.close()

    def fill(
        self, journal: Journal[Row], tally: Tally, labels: Sequence[str], on_row: Callable[[], None]
    ) -> None:
        """Write every row that the journal does not have, and count all of them.

        Raises:
            JobError: the job cannot go on; what was written stays.
            ClientError: likewise.
        """
        items = self.sources.items(journal.rows)
        _pass_by(items, journal, tally)
        tally.begin()
        unwritten: list[Row] = []
        written_s = time.monotonic()
        with closing(self._classify(items, labels)) as rows:
            try:
                for row in rows:
                    unwritten.append(row)
                    tally.add(row)
                    if (
                        len(unwritten) >= MOST_UNWRITTEN
                        or time.monotonic() - written_s > _LONGEST_UNWRITTEN_S
                    ):
                        # Forgotten first: an interruption must not write them twice.
                        now, unwritten = unwritten, []
                        journal.append(now)
                        written_s = time.monotonic()
                        on_row()
            finally:
                if unwritten:
                    journal.append(unwritten)


def _pass_by(items: Iterator[Item], journal: Journal[Row], tally: Tally) -> None:
    """Leave out the inputs that have rows, and make sure that they are the same inputs."""
    for number, row in enumerate(journal.replay(), 1):
        item = next(items, None)
        if item is None or item.source != row.source:
            there = "there is no such input any more" if item is None else f"the input there is {item.source}"
            raise SourceError(
                f"row {number:,} of {journal.path} is of {row.source}, and {there}: the inputs have changed, "
                "begin anew with --overwrite"
            )
        tally.add(row)


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where the rows go."""

    out: Path
    form: Form
    has_labels: bool = False
    resume: bool = False
    overwrite: bool = False

    def check(self) -> bool:
        """Whether there is something to do; a finished output is all that ``resume`` asks for.

        Raises:
            OutputError: a file is in the way.
        """
        if not self.out.exists() or self.overwrite:
            return True
        if self.out.is_dir():
            raise OutputError(f"{self.out} is a folder, wanted a file")
        if not self.resume:
            raise OutputError(f"{self.out} is there already: --overwrite replaces it")
        return journal_of(self.out).exists()


def run(  # noqa: PLR0913 - what a job is made of
    job: Job,
    target: Target,
    subject: Subject,
    tally: Tally,
    *,
    facts: dict[str, Any],
    on_row: Callable[[], None],
) -> None:
    """Do a job, or the rest of it, and put the output in its place.

    Args:
        job: what is to be done.
        target: where the rows go.
        subject: the model that answers.
        tally: counts the rows.
        facts: what makes two jobs the same beside the model; JSON-ready.
        on_row: is called now and then.

    Raises:
        JobError: it cannot run or go on; the sentence says what is kept.
    """
    identity = facts | {"top": job.top_k, "model": f"{subject.name}, {subject.identity}"}
    with Journal(
        target.out,
        identity,
        to_line=to_line,
        from_line=from_line,
        resume=target.resume,
        overwrite=target.overwrite,
    ) as journal:
        try:
            job.fill(journal, tally, subject.labels, on_row)
        except OutputError:
            raise
        except (ClientError, JobError) as error:
            raise JobError(_what_is_kept(journal, str(error))) from error
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(_what_is_kept(journal, "interrupted")) from error
        publish(journal, target.out, target.form, job.top_k, has_labels=target.has_labels)


def _what_is_kept(journal: Journal[Row], reason: str) -> str:
    if not journal.rows:
        journal.remove()
        return reason
    return f"{reason}; {journal.rows:,} rows are kept in {journal.path}, --resume goes on from there"
