"""A job's memory does not grow with the number of its inputs."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# Not getrusage: its maximum begins with that of the process that started this one.
_JOB = """
from pathlib import Path
from service.cli import cli
try:
    cli()
except SystemExit as end:
    assert end.code == 1, end.code
(peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
print(peak.split()[1])
"""


def _peak_mb(folder: Path, model: Path, lines: int) -> float:
    places = folder / f"{lines}.txt"
    places.write_text("".join(f"photographs/of/last/summer/{number:09}.jpg\n" for number in range(lines)))
    arguments = ["classify", places, "--model", model, "--threads", "2", "--out", folder / f"{lines}.csv"]
    done = subprocess.run(
        [sys.executable, "-c", _JOB, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    assert (folder / f"{lines}.csv").read_bytes().count(b"\n") == lines + 1
    return int(done.stdout.splitlines()[-1]) / 1e3


def test_a_list_of_many_lines_takes_no_more_memory_than_one_of_few(tmp_path: Path, model: Path) -> None:
    few = _peak_mb(tmp_path, model, 500)

    many = _peak_mb(tmp_path, model, 40_000)

    assert many < 400
    assert many - few < 8  # 200 bytes an input would be as much
