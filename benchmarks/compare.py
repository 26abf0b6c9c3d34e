"""Compares the CPU time per image of this tree's server with that of another commit's.

Both servers run all the time on the same core and are loaded in short turns, so that other work on the
machine affects both equally; CPU time is affected least. Prints the ratio with its spread, and writes
benchmarks/results/compare.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import machine
from benchmarks.serving import OPTIONS, ROOT, cases
from benchmarks.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import ProcessPoolExecutor

    from benchmarks.subject import Case

RESULTS = ROOT / "benchmarks" / "results" / "compare.json"
CASES = ("unary_1", "unary_64")
SECONDS = 0.5  # of a turn
ORDER = ("base", "new", "new", "base")  # so that neither is always the first


def main() -> int:
    """Compare, print and save."""
    options = _options()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:  # noqa: PLR2004 - one each for servers and load
        print("error: two cores are needed, one for the servers and one for the load", file=sys.stderr)
        return 1
    commits = {"base": _commit(options.base), "new": _commit("HEAD")}
    with tempfile.TemporaryDirectory() as folder, _tree(options.base, Path(folder) / "base") as base:
        logs = Path(folder)
        with (
            contextlib.chdir(base),
            Subject(*OPTIONS, cores=cores[:1], log=logs / "base.log") as old,
            contextlib.chdir(ROOT),
            Subject(*OPTIONS, *options.new_options, cores=cores[:1], log=logs / "new.log") as new,
            machine.worker_on(cores[1]) as load,
            machine.on_cores(cores[1:2]),
        ):
            rows = {
                key: _turns({"base": old, "new": new}, cases()[key], options.turns, load) for key in CASES
            }
    facts = machine.facts() | {"commits": commits, "new_options": options.new_options, "rows": rows}
    RESULTS.write_text(json.dumps(facts, indent=2) + "\n")
    print(f"{facts['machine']}, {facts['kernel']}, Python {facts['python']}")
    print(f"base {commits['base']}, new {commits['new']}; CPU us an image, median (quartiles) of n")
    for key, row in rows.items():
        print(_line(cases()[key].title, row))
    return 0


def _turns(
    subjects: dict[str, Subject], case: Case, turns: int, load: ProcessPoolExecutor
) -> dict[str, list[float]]:
    """Load both in turns; return the CPU us per image of each turn, and the ratio of every four turns."""
    row: dict[str, list[float]] = {"base": [], "new": [], "ratio": []}
    for subject in subjects.values():
        subject.unary(case, SECONDS, load)
    for _ in range(turns):
        seen: dict[str, list[float]] = {"base": [], "new": []}
        for name in ORDER:
            _, spent = subjects[name].unary(case, SECONDS, load)
            seen[name].append(spent["cpu_us_an_image"])
        for name, values in seen.items():
            row[name] += values
        row["ratio"].append(sum(seen["new"]) / sum(seen["base"]))
    return row


def _line(title: str, row: dict[str, list[float]]) -> str:
    parts = [title]
    for name, values in row.items():
        low, middle, high = statistics.quantiles(values, n=4)
        parts.append(f"{name} {middle:.4g} ({low:.4g} to {high:.4g}) n={len(values)}")
    return "; ".join(parts)


@contextlib.contextmanager
def _tree(commit: str, folder: Path) -> Iterator[Path]:
    """Check a commit out beside this tree."""
    _git("worktree", "add", "--quiet", "--detach", str(folder), commit)
    try:
        yield folder
    finally:
        _git("worktree", "remove", "--force", str(folder))


def _commit(name: str) -> str:
    return _git("describe", "--always", "--dirty" if name == "HEAD" else "--abbrev=7", *_named(name))


def _named(name: str) -> tuple[str, ...]:
    return () if name == "HEAD" else (name,)


def _git(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - our own command
        ["git", "-C", str(ROOT), *arguments],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", help="commit to compare with, such as main~3")
    parser.add_argument("--turns", type=int, default=20, help="groups of four turns for each case")
    parser.add_argument("new_options", nargs="*", help="options of this tree's server, after --")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
