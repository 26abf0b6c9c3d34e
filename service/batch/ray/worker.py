"""What one worker does: it holds a model, and turns shares into parts.

In: a share. Out: its part, and a receipt. Knows neither the other workers nor who has sent the share.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from service.batch.engines.local_engine import LocalEngine
from service.batch.evaluation import Evaluation
from service.batch.item import named
from service.batch.prefetch import ahead
from service.batch.ray import parts
from service.batch.ray.shards import enter
from service.batch.summary import Tally
from service.errors import JobError

if TYPE_CHECKING:
    from pathlib import Path

    from service.batch.ray.shards import Share


@dataclass(frozen=True, kw_only=True)
class Duty:
    """The same for all workers of a job."""

    model: str
    model_version: str
    identity: str
    """Of the model, as whoever planned the job has found it."""
    provider: str = "cpu"
    threads: int = 1
    top_k: int
    has_labels: bool
    parts: Path
    """Folder for the parts."""
    folder: str
    """Working directory, from which relative paths are taken."""
    release: str
    """Of this package, as it plans the job."""


class Worker:
    """Holds a model from its first share on."""

    def __init__(self, duty: Duty) -> None:
        """Load the model.

        Args:
            duty: what is to be done with every share.

        Raises:
            JobError: this machine has another release, another model or none, or not the execution provider.
        """
        here = os.uname().nodename
        if duty.release != release():
            raise JobError(f"cifar10net {release()} is installed on {here}, and {duty.release} plans the job")
        enter(duty.folder)
        self._duty = duty
        self._engine = LocalEngine(duty.model, duty.model_version, duty.threads, duty.provider)
        subject = self._engine.subject()
        if subject.identity != duty.identity:
            raise JobError(
                f"{duty.model} on {here} is {subject.identity}, and {duty.identity} where the job is planned"
            )
        self._labels = subject.labels

    def do(self, share: Share) -> parts.Receipt:
        """Classify the inputs of a share, and write their rows.

        Raises:
            JobError: the model fails, a source is damaged, or the part cannot be written.
        """
        duty = self._duty
        with closing(ahead(named(share.items, self._labels))) as ready:
            rows = list(self._engine.classify(ready, duty.top_k))
        tally = Tally(Evaluation(self._labels, duty.top_k) if duty.has_labels else None)
        for row in rows:
            tally.add(row)
        receipt = parts.write(duty.parts, share, rows, duty.top_k, has_labels=duty.has_labels)
        return receipt._replace(counts=tally.counts())


def release() -> str:
    """Return the version of this package that is installed here."""
    return version("cifar10net")
