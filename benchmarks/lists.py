"""The memory of a batch job over a very long list, to each form of output.

A few images go in, and a list is made that names them again and again; out comes the peak of the resident
memory of the job's process. Linux only. Knows nothing of speed.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.ceiling import MODELS
from service.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Sequence

MODEL = MODELS / "cifar10net"
_KB = 1024
# Not getrusage: its maximum begins with that of the process that started this one.
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
        lines: of the list.
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
