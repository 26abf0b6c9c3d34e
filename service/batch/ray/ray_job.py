"""A job on a cluster, from its sources to its manifest: what is planned on this machine.

In: sources, a model and a pool of workers. Out: a folder of parts, and a tally. What the rows are is the
workers' business; here only receipts pass by. Knows nothing of Ray.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from service.batch.ray.output_folder import Collection
from service.batch.ray.shards import Cutter, digest
from service.batch.ray.worker import Duty, release
from service.errors import JobError, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from service.batch.engines.engine import Subject
    from service.batch.ray.output_folder import Place
    from service.batch.ray.parts import Receipt
    from service.batch.sources import Sources
    from service.batch.summary import Tally


class Workers(Protocol):
    """Whoever does the shares."""

    def receipts(self, cutters: Sequence[Cutter], duty: Duty) -> Iterator[Receipt]:
        """Yield a receipt for each share and each unit's end, in any order. Raises JobError."""


@dataclass(frozen=True, kw_only=True)
class ClusterJob:
    """What is to be done."""

    sources: Sources
    column: str | None = None
    labels: str | None = None
    model: str
    model_version: str = ""
    provider: str = "cpu"
    threads: int = 1
    """Of a worker."""
    top_k: int
    part_rows: int
    """Of a part, at most."""
    ships_bytes: bool = False
    """Whether inputs are read on this machine."""


def run(  # noqa: PLR0913 - what a job is made of
    job: ClusterJob,
    place: Place,
    subject: Subject,
    workers: Workers,
    tally: Tally,
    *,
    facts: dict[str, Any],
    on_part: Callable[[], None],
) -> None:
    """Do a job, or the rest of it, and put the output in its place.

    Args:
        job: what is to be done.
        place: where the parts go.
        subject: the model that answers, as it is here.
        workers: do it.
        tally: counts the rows.
        facts: what makes two jobs the same beside the model; JSON-ready.
        on_part: is called for each part.

    Raises:
        JobError: it cannot run or go on; the sentence says what is kept.
    """
    units = tuple(job.sources.units())
    identity = facts | {
        "units": digest(units),  # which are numbered, and may be what fits a pattern
        "top": job.top_k,
        "part_rows": job.part_rows,
        "model": f"{subject.name}, {subject.identity}",
    }
    with Collection(place, identity) as collection:
        try:
            _fill(collection, job, units, subject, workers, tally, on_part)
        except OutputError:
            raise
        except JobError as error:
            raise JobError(collection.what_is_kept(str(error))) from error
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(collection.what_is_kept("interrupted")) from error
        collection.publish(
            {"cifar10net": release()} | tally.facts(subject, str(place.out)),
            top_k=job.top_k,
            has_labels=job.labels is not None,
        )


def _fill(  # noqa: PLR0913, PLR0917 - what a job is made of
    collection: Collection,
    job: ClusterJob,
    units: Sequence[str],
    subject: Subject,
    workers: Workers,
    tally: Tally,
    on_part: Callable[[], None],
) -> None:
    for receipt in collection.receipts:
        tally.merge(receipt.counts)
    tally.begin()
    folder = os.getcwd()  # noqa: PTH109 - a text for other machines
    cutters = [
        Cutter(
            unit=unit,
            place=place,
            column=job.column,
            labels=job.labels,
            rows=job.part_rows,
            ships_bytes=job.ships_bytes,
            folder=folder,
            done=collection.done(unit),
        )
        for unit, place in enumerate(units)
        if not collection.is_whole(unit)
    ]
    duty = Duty(
        model=job.model,
        model_version=job.model_version,
        identity=subject.identity,
        provider=job.provider,
        threads=job.threads,
        top_k=job.top_k,
        has_labels=job.labels is not None,
        parts=collection.parts,
        folder=folder,
        release=release(),
    )
    for receipt in workers.receipts(cutters, duty):
        if collection.add(receipt):
            tally.merge(receipt.counts)
            on_part()
