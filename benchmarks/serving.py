"""``make bench``: throughput, latency and memory of the server.

The server is pinned to one core, the load to another, on loopback. Figures to be compared are measured one
after the other and compared within a round, since the machine may be shared. Prints a table and writes
benchmarks/results/serving.json.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import ceiling, generator, h2load, machine
from benchmarks.ceiling import random_images
from benchmarks.goals import Goal, figures
from benchmarks.subject import Case, Row, Subject, append
from cifar10net.pb import classifier_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ProcessPoolExecutor

    from benchmarks.load import Load

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "serving.json"
ROUNDS = 5  # to keep
MOST_ROUNDS = 9  # to make, where the hypervisor steals time from the cores
CALM = 0.03  # a round is calm if less than this share of both cores was stolen
SECONDS = 2.5
STARTS = 4  # beside the first one
IDLE_S = 10.0
WINDOW = 64  # messages in flight on the stream: as many as single images in calls
WHOLE_CORE = 0.9  # least share of its core that a process that never waits should get
SHARES = (50, 80)  # of the capacity, in percent
POISSON_S = 5.0
OPTIONS = ("--models", str(ceiling.MODELS), "--threads", "1")


def main() -> int:
    """Measure, print and save; return 1 if an answer was wrong or missing, not if a goal was missed."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:  # noqa: PLR2004 - one each for server and load
        print("error: two cores are needed, one for the server and one for the load", file=sys.stderr)
        return 1
    if not h2load.is_installed():
        print(f"{h2load.INSTALL}; until then our own generator makes all the load")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(cores[0], cores[1], Path(folder) / "log")
        bench.measure()
    goals = figures(bench.rows)
    facts = machine.facts() | {
        "h2load": h2load.release() if h2load.is_installed() else "",
        "rounds": ROUNDS,
        "rounds_made": bench.rounds_made,
        "stolen_of_kept": bench.stolen,
        "seconds_a_round": SECONDS,
        "took_s": round(time.perf_counter() - began),
        "figures": {key: goal.facts() for key, goal in goals.items()},
        "rows": bench.rows,
        "loads": bench.loads,
        "failures": bench.failures,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(facts, indent=2) + "\n")
    _print(facts, goals)
    return 1 if bench.failures else 0


class Bench:
    """The measurements of one run: ``rows`` by case, each a list by figure, one value a round."""

    def __init__(self, server_core: int, load_core: int, log: Path) -> None:
        self.rows: dict[str, Row] = {}
        self.loads: dict[str, str] = {}
        self.failures: dict[str, int] = {}
        self.rounds_made: list[int] = []
        self.stolen: list[float] = []
        """Share of the cores that the hypervisor took during each round that was kept."""
        self._server_core, self._load_core, self._log = server_core, load_core, log
        self._cases = cases()

    def measure(self) -> None:
        """Take all measurements; about three minutes."""
        with (
            self._subject() as server,
            machine.worker_on(self._server_core) as alone,
            machine.worker_on(self._load_core) as load,
            machine.on_cores({self._load_core}),
        ):
            append(self._row("start"), {"start_s": server.start_s})
            for batch in (1, 64):  # a warm-up, which does not count
                alone.submit(ceiling.measure, batch, 0.2).result()
            self._repeat(lambda _: self._round(server, alone, load))
            self._measure_latency(server, load)
            append(self._row("idle"), {"core_share_percent": server.idle_share(IDLE_S) * 100})
            self._keep_memory("one_worker_mb", server)
            self._measure_two_workers(server, load)
        for _ in range(STARTS):
            with self._subject() as server:
                append(self._row("start"), {"start_s": server.start_s})

    def _repeat(self, measure: Callable[[int], None]) -> None:
        """Make rounds until enough were calm, and keep those with the least steal time.

        The kernel reports steal time; rounds are never chosen by their figures.
        """
        before = self.rows
        rounds: list[tuple[float, dict[str, Row]]] = []
        while len(rounds) < MOST_ROUNDS and sum(stolen < CALM for stolen, _ in rounds) < ROUNDS:
            self.rows = {}
            began, stolen_s = time.perf_counter(), self._stolen_s()
            measure(len(rounds))
            took_s = time.perf_counter() - began
            rounds.append(((self._stolen_s() - stolen_s) / took_s / 2, self.rows))
        self.rows = before
        self.rounds_made.append(len(rounds))
        for stolen, rows in sorted(rounds, key=lambda made: made[0])[:ROUNDS]:
            self.stolen.append(stolen)
            for key, row in rows.items():
                for name, values in row.items():
                    self._row(key).setdefault(name, []).extend(values)

    def _stolen_s(self) -> float:
        return machine.stolen_s(self._server_core) + machine.stolen_s(self._load_core)

    def _subject(self) -> Subject:
        return Subject(*OPTIONS, cores=[self._server_core], log=self._log)

    def _round(self, server: Subject, alone: ProcessPoolExecutor, load: ProcessPoolExecutor) -> None:
        one = alone.submit(ceiling.measure, 1, 0.7).result()
        append(self._row("ceiling_1"), one._asdict())
        unary = self._unary(server, "unary_1", load)
        self._own(server, load)
        message = self._stream(server, load)
        append(self._row("ratios"), {"stream_over_unary": message / unary})
        before = alone.submit(ceiling.measure, 64, 1.0).result()
        sixty_four = self._unary(server, "unary_64", load)
        after = alone.submit(ceiling.measure, 64, 1.0).result()
        for ceiling_64 in (before, after):
            append(self._row("ceiling_64"), ceiling_64._asdict())
        limit = statistics.mean((before.images_per_s, after.images_per_s))
        limit_cpu_us = statistics.mean((before.cpu_us_an_image, after.cpu_us_an_image))
        cpu_us = self.rows["unary_64"]["cpu_us_an_image"][-1]
        append(
            self._row("ratios"),
            {"unary_64_over_ceiling": sixty_four / limit, "ceiling_over_unary_64_cpu": limit_cpu_us / cpu_us},
        )
        self._unary(server, "photographs_16", load)

    def _unary(self, server: Subject, key: str, load: ProcessPoolExecutor) -> float:
        seen, spent = server.unary(self._cases[key], SECONDS, load)
        return self._keep(key, "h2load" if h2load.is_installed() else "own generator", seen, spent)

    def _own(self, server: Subject, load: ProcessPoolExecutor) -> None:
        """Load the server with our own generator as with h2load; the two should agree."""
        case = self._cases["unary_1"]
        target = server.target(case)
        work = load.submit(generator.closed_loop, target, case.callers, SECONDS / 2)
        seen, spent = server.spend(1, work.result)
        self._keep("unary_1_own", "own generator", seen, spent)

    def _stream(self, server: Subject, load: ProcessPoolExecutor) -> float:
        target = server.target(self._cases["unary_1"])
        work = load.submit(generator.stream, target, WINDOW, SECONDS)
        seen, spent = server.spend(1, work.result)
        return self._keep("stream_1", "own generator", seen, spent)

    def _measure_latency(self, server: Subject, load: ProcessPoolExecutor) -> None:
        """Send single images at random times, at shares of the rate that the rounds reached."""
        capacity = statistics.median(self.rows["unary_1"]["images_per_s"])
        target = server.target(self._cases["poisson"])

        def measure(number: int) -> None:
            for share in SHARES:
                rate = capacity * share / 100
                work = load.submit(generator.poisson, target, rate, POISSON_S, number)
                seen, spent = server.spend(1, work.result)
                self._keep(f"poisson_{share}", "own generator", seen, spent)
                append(
                    self.rows[f"poisson_{share}"],
                    {"wanted_per_s": rate, "p99_over_p50": seen.p99_ms / seen.p50_ms},
                )

        self._repeat(measure)

    def _measure_two_workers(self, one: Subject, load: ProcessPoolExecutor) -> None:
        """Compare two workers on both cores with one worker on one, with 64-image calls.

        No core is left for the load beside two workers, so h2load runs at the lowest priority on both and
        takes what it needs from them; ``load_core_share`` says how much of a core that was.
        """
        cores = [self._server_core, self._load_core]
        with Subject(*OPTIONS, "--workers", "2", cores=cores, log=self._log) as two:

            def measure(_number: int) -> None:
                alone = self._many(one, "one_worker_64", load)
                with machine.on_cores(cores):
                    both = self._many(two, "two_workers_64", load, prefix=("nice", "-n", "19"))
                append(self._row("ratios"), {"two_workers_over_one": both / alone})

            self._repeat(measure)
            self._keep_memory("two_workers_mb", two)

    def _many(
        self, server: Subject, key: str, load: ProcessPoolExecutor, prefix: tuple[str, ...] = ()
    ) -> float:
        before = _children_cpu_s()
        seen, spent = server.unary(self._cases["many_64"], SECONDS, load, prefix)
        spent["load_core_share"] = (_children_cpu_s() - before) / seen.seconds
        return self._keep(key, "h2load" if h2load.is_installed() else "own generator", seen, spent)

    def _keep(self, key: str, by: str, seen: Load, spent: dict[str, float]) -> float:
        """Keep a measurement; return its images per second."""
        append(self._row(key), spent)
        self.loads[key] = by
        for what, count in seen.failures.items():
            self.failures[f"{key}: {what}"] = self.failures.get(f"{key}: {what}", 0) + count
        return spent["images_per_s"]

    def _keep_memory(self, name: str, server: Subject) -> None:
        """Keep the size of the largest process as the figure, and those of all beside it."""
        sizes = server.resident_mb()
        append(self._row("memory"), {name: max(sizes)})
        for size in sizes:
            append(self._row("memory"), {f"{name}_each": size})

    def _row(self, key: str) -> Row:
        return self.rows.setdefault(key, {})


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cases() -> dict[str, Case]:
    """Make the requests."""
    one, sixty_four = (
        pb.ClassifyRequest(packed_pixels=random_images(n).tobytes()).SerializeToString() for n in (1, 64)
    )
    photograph = pb.Image(encoded=(ROOT / "examples" / "images" / "dog.jpg").read_bytes())
    photographs = pb.ClassifyRequest(images=[photograph] * 16).SerializeToString()
    return {
        "unary_1": Case("1 raw image a call", one, 1, 64, 4),
        "unary_64": Case("64 raw images a call", sixty_four, 64, 8, 2),
        "photographs_16": Case("16 photographs a call (640x480 JPEG)", photographs, 16, 4, 2),
        "poisson": Case("1 raw image a call, at random times", one, 1, 8, 8),
        "many_64": Case("64 raw images a call, 16 connections", sixty_four, 64, 16, 16),
    }


def _print(facts: dict[str, Any], goals: dict[str, Goal]) -> None:
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    print(f"{facts['machine']}, {facts['kernel']}, Python {facts['python']}, {versions}")
    print(f"h2load {facts['h2load'] or 'none'}; {facts['took_s']} s in all; median (smallest-largest) of n")
    for goal in goals.values():
        print(goal.line())
    own = [key for key, by in facts["loads"].items() if by != "h2load"]
    print(f"by our own generator: {', '.join(own)}; all other load by h2load")
    alone = statistics.median(facts["rows"]["ceiling_64"]["core_share"])
    if alone < WHOLE_CORE:
        print(
            f"BUSY: ONNX Runtime alone got {alone:.0%} of its core; compare by CPU time, and run this again"
        )
    print(
        f"taken from the cores by the hypervisor in the rounds kept: {min(facts['stolen_of_kept']):.1%} to "
        f"{max(facts['stolen_of_kept']):.1%}; {sum(facts['rounds_made'])} rounds made, "
        f"{len(facts['stolen_of_kept'])} kept, by that alone"
    )
    late = [value for row in facts["rows"].values() for value in row.get("late_p99_ms", ())]
    print(f"sent late by our own generator: 99th percentile at most {max(late):.2f} ms in a round")
    for what, count in facts["failures"].items():
        print(f"FAILED {count} times: {what}")


if __name__ == "__main__":
    sys.exit(main())
