"""``make bench-batch``: a batch job compared with the least that it could take, on one core.

The least is decoding by the same function and ONNX Runtime in batches of 64, from files in memory, with
nothing written. The job reads the same images from a zip and writes their rows. Both take turns of some
batches each, since the machine may be shared, and are compared by CPU time. Prints a table and writes
benchmarks/results/batch.json. ``benchmarks.lists`` measures the memory of jobs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks import machine
from benchmarks.ceiling import MODELS
from benchmarks.goals import Goal
from service.batch.engines.local_engine import LocalEngine
from service.batch.job import Job, Target, run
from service.batch.output import format_of
from service.batch.sources import Sources
from service.batch.summary import JobSummary
from service.config import ImageLimits
from service.errors import JobError
from service.images.decode import from_encoded
from service.repository.local_runner import BATCH

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS = Path(__file__).parent / "results" / "batch.json"
FORMS = ("rows.jsonl", "rows.csv", "rows.parquet")
MODEL = MODELS / "cifar10net"
ROUNDS = 5
GOAL = 0.9
_LIMITS = ImageLimits()


class Cost(NamedTuple):
    """Time spent on some images."""

    wall_s: float
    cpu_s: float

    @classmethod
    def now(cls) -> Cost:
        """Read both clocks."""
        return cls(time.perf_counter(), time.process_time())

    def until(self, end: Cost) -> Cost:
        """Return the time between two readings."""
        return Cost(end.wall_s - self.wall_s, end.cpu_s - self.cpu_s)


class Turn(NamedTuple):
    """A job, and the bare work done between its batches."""

    job: Cost
    alone: Cost
    images: int
    images_alone: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; return 1 if the images cannot be read."""
    options = parse(arguments, "benchmarks.batch", __doc__, ROUNDS, RESULTS)
    if options.data is None:
        print("error: name a zip of images by --data or CIFAR10NET_DATA", file=sys.stderr)
        return 1
    try:
        with machine.on_cores({min(os.sched_getaffinity(0))}):
            turns, images = measure(f"{options.data}/{options.members}", options.rounds)
    except JobError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    keep(options.out, f"{images:,} images: {options.members} of {Path(options.data).name}", _goals(turns))
    return 0


def keep(out: Path, images: str, goals: dict[str, Goal]) -> None:
    """Write the figures to a file of results, and print them."""
    facts = machine.facts() | {
        "images": images,
        "model": MODEL.name,
        "figures": {name: {"title": goal.title, **goal.facts()} for name, goal in goals.items()},
    }
    out.write_text(json.dumps(facts, indent=2) + "\n")
    print(f"{images}, {facts['machine']}")
    for goal in goals.values():
        print(goal.line())


def measure(place: str, rounds: int) -> tuple[dict[str, list[Turn]], int]:
    """Measure jobs of every form in turns. Raises JobError."""
    engine = LocalEngine(str(MODEL), "", threads=1)
    files = [item.read() for item in Sources([place]).items()]
    if not files:
        raise JobError(f"{place} has no images")
    turns: dict[str, list[Turn]] = {name: [] for name in FORMS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            for name in FORMS:
                turn = _turn(engine, place, files, Path(folder) / name)
                if number:  # the first round is a warm-up: imports, disk caches
                    turns[name].append(turn)
            print(f"round {number} of {rounds}", file=sys.stderr)
    return turns, len(files)


def _turn(engine: LocalEngine, place: str, files: list[bytes], out: Path) -> Turn:
    """Run a job, and between its batches the bare work on as many images: both see the same machine."""
    spent = Cost(0, 0)
    alone = 0
    summary = JobSummary()

    def do_alone() -> None:
        nonlocal spent, alone
        began = Cost.now()
        while alone < summary.images:
            batch = files[alone : alone + BATCH]
            engine.runner.run(np.stack([from_encoded(file, _LIMITS) for file in batch]))
            alone += len(batch)
        more = began.until(Cost.now())
        spent = Cost(spent.wall_s + more.wall_s, spent.cpu_s + more.cpu_s)

    target = Target(out=out, format=format_of(out), overwrite=True)
    began = Cost.now()
    job = Job(Sources([place]), engine, top_k=3)
    run(job, target, engine.model(), summary, facts={"sources": [place]}, on_row=do_alone)
    both = began.until(Cost.now())
    return Turn(Cost(both.wall_s - spent.wall_s, both.cpu_s - spent.cpu_s), spent, len(files), alone)


def _goals(turns: dict[str, list[Turn]]) -> dict[str, Goal]:
    every = [turn for one in turns.values() for turn in one]
    goals = {
        "alone.images_per_s": Goal(
            "decoding and ONNX Runtime alone",
            "images/s",
            [turn.images_alone / turn.alone.wall_s for turn in every],
        ),
        "alone.cpu_us_an_image": Goal(
            "decoding and ONNX Runtime alone: CPU",
            "us/image",
            [1e6 * turn.alone.cpu_s / turn.images_alone for turn in every],
        ),
    }
    for name in FORMS:
        form = name.partition(".")[2]
        goals |= {
            f"{form}.images_per_s": Goal(
                f"zip to {name}", "images/s", [turn.images / turn.job.wall_s for turn in turns[name]]
            ),
            f"{form}.over_alone": Goal(
                f"zip to {name} / alone", "", [_ratio(turn, 0) for turn in turns[name]], digits=3
            ),
            f"{form}.over_alone_cpu": Goal(
                f"zip to {name} / alone, by CPU time",
                "",
                [_ratio(turn, 1) for turn in turns[name]],
                at_least=GOAL,
                digits=3,
            ),
        }
    return goals


def _ratio(turn: Turn, clock: int) -> float:
    return turn.alone[clock] / turn.images_alone * turn.images / turn.job[clock]


def parse(
    arguments: Sequence[str] | None, program: str, description: str | None, rounds: int, results: Path
) -> argparse.Namespace:
    """Parse the command line of a benchmark of jobs over a zip of images."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("--data", default=os.environ.get("CIFAR10NET_DATA"), help="zip of images")
    parser.add_argument("--members", default="test", help="folder or pattern within it")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--out", type=Path, default=results)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
