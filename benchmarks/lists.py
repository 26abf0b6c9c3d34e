"""``make bench-batch``: peak memory of batch jobs over a very long list, by output format.

The list names a few images of a zip again and again. Writes benchmarks/results/lists.json. Linux only.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.batch import FORMS, MODEL, keep
from benchmarks.goals import Goal
from service.batch.sources import Sources
from service.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS = Path(__file__).parent / "results" / "lists.json"
LINES = 1_000_000
MOST_MB = 400
_LISTED = 100  # images that the list names, in turns
_KB = 1024
# Not getrusage: its maximum includes that of the parent process before exec.
_CHILD = """
from pathlib import Path
from service.cli import cli
try:
    cli()
finally:
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM:" in line)
    print(peak.split()[1])
"""


def peak_mb(lines: int, images: Sequence[bytes], form: str) -> float:
    """Run a job over a list, and return its peak of resident memory in MB.

    Args:
        lines: length of the list.
        images: files that can be classified; the list names them in turns.
        form: ``csv``, ``jsonl`` or ``parquet``.

    Raises:
        JobError: an image could not be classified, or the job could not run.
    """
    with tempfile.TemporaryDirectory() as folder:
        photographs = Path(folder) / "photographs" / "of" / "last" / "summer"
        photographs.mkdir(parents=True)
        paths = [photographs / f"{number:09}.jpg" for number in range(len(images))]
        for path, image in zip(paths, images, strict=True):
            path.write_bytes(image)
        places, out = Path(folder) / "list.txt", Path(folder) / f"rows.{form}"
        with places.open("w") as file:
            file.writelines(f"{path}\n" for path in itertools.islice(itertools.cycle(paths), lines))
        job = ["classify", str(places), "--model", str(MODEL), "--out", str(out), "--json"]
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-c", _CHILD, *job], capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        raise JobError(f"a job over {lines:,} lines ended with {done.returncode}: {done.stderr[-1000:]}")
    return int(done.stdout.splitlines()[-1]) * _KB / 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; return 1 if the images cannot be read."""
    options = _parse(arguments)
    if options.data is None:
        print("error: name a zip of images by --data or CIFAR10NET_DATA", file=sys.stderr)
        return 1
    goals = {}
    try:
        items = Sources([f"{options.data}/{options.members}"]).items()
        images = [item.read() for item in itertools.islice(items, _LISTED)]
        for name in FORMS:
            print(f"a list of {options.lines:,} images to {name}", file=sys.stderr)
            peak = peak_mb(options.lines, images, name.partition(".")[2])
            title = f"a list of {options.lines:,} images to {name}: peak memory"
            goals[name] = Goal(title, "MB", [peak], at_most=MOST_MB)
    except JobError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    keep(options.out, f"{len(images)} images: {options.members} of {Path(options.data).name}", goals)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lists", description=__doc__)
    parser.add_argument("--data", default=os.environ.get("CIFAR10NET_DATA"), help="zip of images")
    parser.add_argument("--members", default="test", help="folder or pattern within it")
    parser.add_argument("--lines", type=int, default=LINES, help="length of the list")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
