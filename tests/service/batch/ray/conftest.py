"""Jobs on a cluster, with or without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from service.batch.engines.local_engine import LocalEngine
from service.batch.evaluation import Evaluation
from service.batch.ray.output_folder import Place
from service.batch.ray.ray_job import ClusterJob, run
from service.batch.ray.shards import Share
from service.batch.ray.worker import Worker
from service.batch.sources import Sources
from service.batch.summary import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from service.batch.ray.parts import Receipt
    from service.batch.ray.ray_job import Workers
    from service.batch.ray.shards import Cutter
    from service.batch.ray.worker import Duty


class Alone:
    """One worker in this process, which stops after so many parts."""

    def __init__(self, most: int = 1_000_000, error: BaseException | None = None) -> None:
        self.most = most
        self.error = error
        self.places: list[str] = []

    def receipts(self, cutters: Sequence[Cutter], duty: Duty) -> Iterator[Receipt]:
        from service.batch.ray.parts import Receipt  # noqa: PLC0415

        worker = Worker(duty)
        for cutter in reversed(cutters):  # the order of units is of no matter
            self.places.append(cutter.place)
            for share in cutter.shares():
                if not isinstance(share, Share):
                    yield Receipt(share.unit, share.shares)
                    continue
                if self.most == 0 and self.error is not None:
                    raise self.error
                self.most -= 1
                yield worker.do(share)


@pytest.fixture
def do(model: Path, tmp_path: Path) -> Callable[..., Tally]:
    """Return a function that does a job into ``rows/``, and gives what was counted."""

    def do(workers: Workers, *places: str, resume: bool = False, **more: Any) -> Tally:
        labels = more.pop("labels", "folder")
        out = more.pop("out", tmp_path / "rows")
        job = ClusterJob(
            sources=Sources(places, labels=labels),
            labels=labels,
            model=more.pop("model", str(model)),
            top_k=3,
            part_rows=more.pop("part_rows", 2),
            **more,
        )
        subject = LocalEngine(job.model, "", 1).subject()
        tally = Tally(Evaluation(subject.labels, 3))
        facts = {"sources": list(places), "labels": labels}
        place = Place(out=out, resume=resume)
        assert place.check()
        run(job, place, subject, workers, tally, facts=facts, on_part=lambda: None)
        return tally

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
