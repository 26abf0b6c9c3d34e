"""``make bench-ray``: a job on a Ray cluster of this machine, with one worker and with two.

One cluster is started; jobs with one worker, with two, and in this process without Ray take turns. Speed
counts from a job's first part to its last, without the start of the workers; CPU time is that of every
process of the cluster, as last read at a part. Cutting the inputs into shards, which one process does for
each unit, is measured apart. Prints a table and writes benchmarks/results/ray.json.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import machine
from benchmarks.batch import parse
from benchmarks.ceiling import MODELS
from benchmarks.goals import Goal
from service.batch.engines.local_engine import LocalEngine
from service.batch.job import Job
from service.batch.ray.output_folder import FolderTarget
from service.batch.ray.pool import Pool, PoolConfig
from service.batch.ray.ray_job import RayJob, run
from service.batch.ray.shards import Shard, Sharder
from service.batch.sources import Sources
from service.batch.summary import JobSummary
from service.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from service.batch.ray.parts import Receipt
    from service.batch.ray.worker import WorkerConfig

RESULTS = Path(__file__).parent / "results" / "ray.json"
MODEL = MODELS / "cifar10net"
ROUNDS = 3
PART_ROWS = 500
MOST_WORKERS = 2


class Cost(NamedTuple):
    """Images, time and CPU time of a job."""

    images: int
    """From the first part to the last, without the first."""
    wall_s: float
    cpu_s: float
    whole_s: float
    """From the beginning to the manifest."""


class _LimitedPool:
    """A number of workers of a pool."""

    def __init__(self, pool: Pool, workers: int) -> None:
        self._pool = pool
        self._workers = workers

    def receipts(self, sharders: Sequence[Sharder], config: WorkerConfig) -> Iterator[Receipt]:
        return self._pool.receipts(sharders, config, self._workers)


class _Clock:
    """Records at each part the images so far, the time, and the CPU time of all processes of the job."""

    def __init__(self, summary: JobSummary) -> None:
        self._summary = summary
        self._used: dict[int, float] = {}
        self.seen: list[tuple[int, float, float]] = []

    def note(self) -> None:
        for pid in machine.family(os.getpid()):
            try:
                self._used[pid] = machine.cpu_s([pid])
            except OSError:
                continue  # it has ended: its last reading counts
        self.seen.append((self._summary.images, time.perf_counter(), sum(self._used.values())))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; return 1 if the images cannot be read."""
    options = parse(arguments, "benchmarks.ray", __doc__, ROUNDS, RESULTS)
    if options.data is None:
        print("error: name a zip of images by --data or CIFAR10NET_DATA", file=sys.stderr)
        return 1
    place = f"{options.data}/{options.members}"
    try:
        cut_us = [_cut_us(place) for _ in range(options.rounds)]
        costs, alone, images = measure(place, options.rounds)
    except JobError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    goals = _goals(costs, alone)
    goals["cut.cpu_us_an_image"] = Goal(
        "cutting into shards, CPU of one process", "us/image", cut_us, digits=1
    )
    facts = machine.facts() | {
        "images": f"{images}: {options.members} of {Path(options.data).name}",
        "model": "cifar10net",
        "part_rows": PART_ROWS,
        "figures": {name: goal.facts() for name, goal in goals.items()},
    }
    options.out.write_text(json.dumps(facts, indent=2) + "\n")
    print(f"{images:,} images, {facts['cores']} cores of {facts['machine']}")
    for goal in goals.values():
        print(goal.line())
    return 0


def measure(place: str, rounds: int) -> tuple[dict[int, list[Cost]], list[Cost], int]:
    """Measure jobs in turns: by number of workers, and without Ray. Raises JobError."""
    engine = LocalEngine(str(MODEL), "", threads=1)
    costs: dict[int, list[Cost]] = {workers: [] for workers in range(1, MOST_WORKERS + 1)}
    alone: list[Cost] = []
    with tempfile.TemporaryDirectory() as folder, Pool(PoolConfig(workers=MOST_WORKERS)) as pool:
        for number in range(1, rounds + 1):
            for workers, kept in costs.items():
                kept.append(_on_ray(pool, workers, place, Path(folder) / "rows", engine))
            alone.append(_alone(place, engine))
            print(f"round {number} of {rounds}", file=sys.stderr)
    return costs, alone, alone[0].images


def _cut_us(place: str) -> float:
    """Cut all inputs into shards, and pickle each as it is sent; return the CPU us per image."""
    began_s = time.process_time()
    images = 0
    for shard in Sharder(unit=0, place=place, rows=PART_ROWS, folder=os.getcwd()).shards():  # noqa: PTH109
        pickle.dumps(shard)
        images += len(shard.items) if isinstance(shard, Shard) else 0
    return 1e6 * (time.process_time() - began_s) / images


def _on_ray(pool: Pool, workers: int, source: str, out: Path, engine: LocalEngine) -> Cost:
    job = RayJob(sources=Sources([source]), model=str(MODEL), top_k=3, part_rows=PART_ROWS)
    summary = JobSummary()
    clock = _Clock(summary)
    target, began_s = FolderTarget(out=out, overwrite=True), time.perf_counter()
    run(job, target, engine.model(), _LimitedPool(pool, workers), summary, facts={}, on_part=clock.note)
    first, last = clock.seen[0], clock.seen[-1]
    images, wall_s, cpu_s = (end - begin for begin, end in zip(first, last, strict=True))
    return Cost(int(images), wall_s, cpu_s, time.perf_counter() - began_s)


def _alone(source: str, engine: LocalEngine) -> Cost:
    began_s, cpu_s = time.perf_counter(), time.process_time()
    images = sum(1 for _ in Job(Sources([source]), engine, top_k=3).rows())
    wall_s = time.perf_counter() - began_s
    return Cost(images, wall_s, time.process_time() - cpu_s, wall_s)


def _goals(costs: dict[int, list[Cost]], alone: list[Cost]) -> dict[str, Goal]:
    goals: dict[str, Goal] = {}
    for workers, those in costs.items():
        name = f"{workers} worker" if workers == 1 else f"{workers} workers"
        goals |= {
            f"{workers}.images_per_s": Goal(name, "images/s", [cost.images / cost.wall_s for cost in those]),
            f"{workers}.cpu_us_an_image": Goal("CPU of all processes", "us/image", _cpu_us(those)),
            f"{workers}.whole_s": Goal("start of workers to manifest", "s", [cost.whole_s for cost in those]),
        }
    goals["alone.cpu_us_an_image"] = Goal("in this process, without Ray: CPU", "us/image", _cpu_us(alone))
    goals["cpu_over_alone"] = Goal(
        "CPU on Ray by CPU without, 2 workers",
        "",
        [ours / theirs for ours, theirs in zip(_cpu_us(costs[MOST_WORKERS]), _cpu_us(alone), strict=True)],
        digits=2,
    )
    goals["two_over_one"] = Goal(
        "images/s, 2 workers by 1",
        "",
        [
            (two.images / two.wall_s) / (one.images / one.wall_s)
            for one, two in zip(costs[1], costs[MOST_WORKERS], strict=True)
        ],
        digits=2,
    )
    return goals


def _cpu_us(costs: list[Cost]) -> list[float]:
    return [1e6 * cost.cpu_s / cost.images for cost in costs]


if __name__ == "__main__":
    sys.exit(main())
