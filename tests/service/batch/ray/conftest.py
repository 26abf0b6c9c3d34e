"""Jobs on a cluster, with or without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from service.batch.engines.local_engine import LocalEngine
from service.batch.evaluation import Evaluation
from service.batch.ray.output_folder import FolderTarget
from service.batch.ray.ray_job import RayJob, run
from service.batch.ray.shards import Shard
from service.batch.ray.worker import Worker
from service.batch.sources import Sources
from service.batch.summary import JobSummary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from service.batch.ray.parts import Receipt
    from service.batch.ray.ray_job import WorkerPool
    from service.batch.ray.shards import Sharder
    from service.batch.ray.worker import WorkerConfig


class Alone:
    """A pool of one worker in this process, which fails after so many parts."""

    def __init__(self, most: int = 1_000_000, error: BaseException | None = None) -> None:
        self.most = most
        self.error = error
        self.places: list[str] = []

    def receipts(self, sharders: Sequence[Sharder], config: WorkerConfig) -> Iterator[Receipt]:
        from service.batch.ray.parts import Receipt  # noqa: PLC0415

        worker = Worker(config)
        for sharder in reversed(sharders):  # units may come in any order
            self.places.append(sharder.place)
            for shard in sharder.shards():
                if not isinstance(shard, Shard):
                    yield Receipt(shard.unit, shard.shards)
                    continue
                if self.most == 0 and self.error is not None:
                    raise self.error
                self.most -= 1
                yield worker.classify(shard)


@pytest.fixture
def do(model: Path, tmp_path: Path) -> Callable[..., JobSummary]:
    """Return a function that runs a job into ``rows/``, and returns its summary."""

    def do(workers: WorkerPool, *places: str, resume: bool = False, **more: Any) -> JobSummary:
        labels = more.pop("labels", "folder")
        out = more.pop("out", tmp_path / "rows")
        job = RayJob(
            sources=Sources(places, labels=labels),
            labels=labels,
            model=more.pop("model", str(model)),
            top_k=3,
            part_rows=more.pop("part_rows", 2),
            **more,
        )
        identity = LocalEngine(job.model, "", 1).model()
        summary = JobSummary(Evaluation(identity.labels, 3))
        facts = {"sources": list(places), "labels": labels}
        target = FolderTarget(out=out, resume=resume)
        assert target.check()
        run(job, target, identity, workers, summary, facts=facts, on_part=lambda: None)
        return summary

    return do


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that reads the parts of ``rows/``, in the order of the inputs."""
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow, of the extra batch, is not installed")

    def rows(out: Path = tmp_path / "rows") -> list[dict[str, Any]]:
        table = pq.read_table(out)
        found: list[dict[str, Any]] = table.sort_by("index").to_pylist()
        return found

    return rows
