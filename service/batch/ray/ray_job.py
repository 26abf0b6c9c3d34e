"""A job on a cluster, from its sources to the manifest: the side of the machine that starts it.

Workers write the rows; this machine gets receipts. Any pool of workers will do, not only Ray.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from service.batch.journal import explaining_kept_output
from service.batch.ray.output_folder import OutputFolder
from service.batch.ray.shards import Sharder, digest
from service.batch.ray.worker import WorkerConfig, release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from service.batch.engines.engine import ModelIdentity
    from service.batch.ray.output_folder import FolderTarget
    from service.batch.ray.parts import Receipt
    from service.batch.sources import Sources
    from service.batch.summary import JobSummary


class WorkerPool(Protocol):
    """Workers that turn shards into parts."""

    def receipts(self, sharders: Sequence[Sharder], config: WorkerConfig) -> Iterator[Receipt]:
        """Yield a receipt for each shard and for the end of each unit, in any order. Raises JobError."""


@dataclass(frozen=True, kw_only=True)
class RayJob:
    """The inputs of a job, and the model that classifies them."""

    sources: Sources
    column: str | None = None
    labels: str | None = None
    model: str
    model_version: str = ""
    provider: str = "cpu"
    threads: int = 1
    """Of each worker."""
    top_k: int
    part_rows: int
    """Most rows of a part."""
    ships_bytes: bool = False
    """Whether all inputs are read on this machine."""


def run(  # noqa: PLR0913 - the parts of a job
    job: RayJob,
    target: FolderTarget,
    model: ModelIdentity,
    workers: WorkerPool,
    summary: JobSummary,
    *,
    facts: dict[str, Any],
    on_part: Callable[[], None],
) -> None:
    """Run a job, or the rest of it, and publish the output.

    ``facts`` identify the job, beside its model, when it is resumed; they are JSON-ready. ``on_part`` is
    called after each part.

    Raises:
        JobError: the job cannot run or go on; the message says which parts are kept.
    """
    units = tuple(job.sources.units())
    identity = facts | {
        "units": digest(units),  # a pattern may match other files later
        "top": job.top_k,
        "part_rows": job.part_rows,
        "model": f"{model.name}, {model.fingerprint}",
    }
    with OutputFolder(target, identity) as folder:
        with explaining_kept_output(folder.with_parts_kept):
            _fill(folder, job, units, model, workers, summary, on_part)
        folder.publish(
            {"cifar10net": release()} | summary.as_dict(model, str(target.out)),
            top_k=job.top_k,
            has_labels=job.labels is not None,
        )


def _fill(  # noqa: PLR0913, PLR0917 - the parts of a job
    folder: OutputFolder,
    job: RayJob,
    units: Sequence[str],
    model: ModelIdentity,
    workers: WorkerPool,
    summary: JobSummary,
    on_part: Callable[[], None],
) -> None:
    for receipt in folder.receipts:
        summary.merge(receipt.counts)
    summary.begin()
    working_folder = os.getcwd()  # noqa: PTH109 - a string for other machines
    sharders = [
        Sharder(
            unit=unit,
            place=place,
            column=job.column,
            labels=job.labels,
            rows=job.part_rows,
            ships_bytes=job.ships_bytes,
            folder=working_folder,
            finished=folder.finished(unit),
        )
        for unit, place in enumerate(units)
        if not folder.is_complete(unit)
    ]
    config = WorkerConfig(
        model=job.model,
        model_version=job.model_version,
        fingerprint=model.fingerprint,
        provider=job.provider,
        threads=job.threads,
        top_k=job.top_k,
        has_labels=job.labels is not None,
        parts=folder.parts,
        folder=working_folder,
        release=release(),
    )
    for receipt in workers.receipts(sharders, config):
        if folder.add(receipt):
            summary.merge(receipt.counts)
            on_part()
