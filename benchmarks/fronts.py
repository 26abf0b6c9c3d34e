"""Compares our own front with grpcio's server, with the same handlers, in one run.

Both run on the same core and are loaded in short turns, so that other work on the machine affects both
equally. Writes benchmarks/results/fronts.json.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import h2load, machine
from benchmarks.ceiling import MODELS
from benchmarks.front_process import FrontProcess
from benchmarks.serving import ROOT, cases
from benchmarks.subject import Subject

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

RESULTS = ROOT / "benchmarks" / "results" / "fronts.json"
CASE = "unary_1"
TURNS = 10
SECONDS = 0.5  # of a turn
ORDER = ("ours", "grpcio", "grpcio", "ours")  # so that neither is always the first
HANDLERS = {"empty": "an empty handler", "models": "Classify with the default model"}


def main() -> int:
    """Compare, print and save."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:  # noqa: PLR2004 - one each for servers and load
        print("error: two cores are needed, one for the servers and one for the load", file=sys.stderr)
        return 1
    rows = {}
    with tempfile.TemporaryDirectory() as folder, machine.worker_on(cores[1]) as load:
        for handler in HANDLERS:
            with contextlib.ExitStack() as stack:
                subjects = {
                    front: stack.enter_context(
                        Subject(
                            cores=cores[:1],
                            server=FrontProcess(front, handler, MODELS, Path(folder) / f"{front}.log"),
                        )
                    )
                    for front in ("ours", "grpcio")
                }
                stack.enter_context(machine.on_cores(cores[1:2]))
                rows[handler] = _turns(subjects, load)
    facts = machine.facts() | {"h2load": h2load.is_installed(), "seconds": SECONDS, "rows": rows}
    RESULTS.write_text(json.dumps(facts, indent=2) + "\n")
    versions = f"Python {facts['python']}, grpcio {facts['versions']['grpcio']}"
    print(f"{facts['machine']}, {facts['kernel']}, {versions}")
    print(f"{cases()[CASE].title}, 64 in flight on 4 connections; median (quartiles) of n")
    for handler, row in rows.items():
        print(HANDLERS[handler])
        for name, values in row.items():
            low, middle, high = statistics.quantiles(values, n=4)
            print(f"  {name}: {middle:.4g} ({low:.4g} to {high:.4g}) n={len(values)}")
    return 0


def _turns(subjects: dict[str, Subject], load: ProcessPoolExecutor) -> dict[str, list[float]]:
    """Load both in turns; return each figure's value for every four turns."""
    case = cases()[CASE]
    row: dict[str, list[float]] = {"grpcio over ours, CPU": [], "ours over grpcio, calls/s": []}
    for subject in subjects.values():
        subject.unary(case, SECONDS, load)
    for _ in range(TURNS):
        cpu_us: dict[str, float] = dict.fromkeys(subjects, 0.0)
        rate: dict[str, float] = dict.fromkeys(subjects, 0.0)
        for front in ORDER:
            _, spent = subjects[front].unary(case, SECONDS, load)
            cpu_us[front] += spent["cpu_us_an_image"] / 2
            rate[front] += spent["images_per_s"] / 2
        for front in subjects:
            row.setdefault(f"{front}, CPU us a call", []).append(cpu_us[front])
            row.setdefault(f"{front}, calls/s", []).append(rate[front])
        row["grpcio over ours, CPU"].append(cpu_us["grpcio"] / cpu_us["ours"])
        row["ours over grpcio, calls/s"].append(rate["ours"] / rate["grpcio"])
    return row


if __name__ == "__main__":
    sys.exit(main())
