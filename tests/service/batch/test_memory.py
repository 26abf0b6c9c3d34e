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


def _peak_mb(sources: Path, model: Path, rows: int) -> float:
    """Return the most memory that a job took, in MB."""
    out = sources.with_suffix(".csv")
    arguments = ["classify", sources, "--model", model, "--threads", "2", "--out", out]
    done = subprocess.run(
        [sys.executable, "-c", _JOB, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    assert out.read_bytes().count(b"\n") == rows + 1
    return int(done.stdout.splitlines()[-1]) / 1e3


def _list(folder: Path, lines: int) -> Path:
    path = folder / f"{lines}.txt"
    path.write_text("".join(f"photographs/of/last/summer/{number:09}.jpg\n" for number in range(lines)))
    return path


def _too_large(folder: Path, files: int) -> Path:
    """Make a folder of files that are larger than a picture may be, and small enough to be read."""
    path = folder / f"{files} files"
    path.mkdir()
    for number in range(files):
        with (path / f"{number}.jpg").open("wb") as file:
            file.truncate(20_000_000)
    return path


def test_a_list_of_many_lines_takes_no_more_memory_than_one_of_few(tmp_path: Path, model: Path) -> None:
    few = _peak_mb(_list(tmp_path, 500), model, 500)

    many = _peak_mb(_list(tmp_path, 40_000), model, 40_000)

    assert many < 400
    assert many - few < 8  # 200 bytes an input would be as much


def test_inputs_that_are_refused_are_not_kept(tmp_path: Path, model: Path) -> None:
    few = _peak_mb(_too_large(tmp_path, 3), model, 3)

    assert _peak_mb(_too_large(tmp_path, 100), model, 100) - few < 200  # 2,000 MB if each were kept
