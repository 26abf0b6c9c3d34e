"""A worker of a cluster: it loads a model, and turns shards into parts."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from service.batch.engines.local_engine import LocalEngine
from service.batch.evaluation import Evaluation
from service.batch.item import with_label_names
from service.batch.prefetch import prefetch
from service.batch.ray import parts
from service.batch.ray.shards import change_folder
from service.batch.summary import JobSummary
from service.errors import JobError

if TYPE_CHECKING:
    from pathlib import Path

    from service.batch.ray.shards import Shard


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """Settings of a job, the same for all its workers."""

    model: str
    model_version: str
    fingerprint: str
    """Of the model, where the job was started."""
    provider: str = "cpu"
    threads: int = 1
    top_k: int
    has_labels: bool
    parts: Path
    """Folder for the parts; absolute."""
    folder: str
    """Working directory, for relative paths."""
    release: str
    """Version of this package where the job was started."""


class Worker:
    """Classifies shards, one at a time."""

    def __init__(self, config: WorkerConfig) -> None:
        """Load the model.

        Raises:
            JobError: this machine has another release, another model, none, or lacks the execution provider.
        """
        here = os.uname().nodename
        if config.release != release():
            raise JobError(f"{here} has cifar10net {release()}, and the job was started by {config.release}")
        change_folder(config.folder)
        self._config = config
        self._engine = LocalEngine(config.model, config.model_version, config.threads, config.provider)
        model = self._engine.model()
        if model.fingerprint != config.fingerprint:
            raise JobError(
                f"{config.model} on {here} is {model.fingerprint}, "
                f"and {config.fingerprint} where the job was started"
            )
        self._labels = model.labels

    def classify(self, shard: Shard) -> parts.Receipt:
        """Classify the inputs of a shard, and write its part.

        Raises:
            JobError: the model fails, a source is damaged, or the part cannot be written.
        """
        config = self._config
        with closing(prefetch(with_label_names(shard.items, self._labels))) as ready:
            rows = list(self._engine.classify(ready, config.top_k))
        summary = JobSummary(Evaluation(self._labels, config.top_k) if config.has_labels else None)
        for row in rows:
            summary.add(row)
        receipt = parts.write(config.parts, shard, rows, config.top_k, has_labels=config.has_labels)
        return receipt._replace(counts=summary.counts())


def release() -> str:
    """Return the version of this package."""
    return version("cifar10net")
