"""Jobs that are killed, interrupted, out of disk or without their server lose nothing and repeat nothing."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from typing import TYPE_CHECKING

import pytest

from service.batch.job import MOST_UNWRITTEN
from service.server.spawn import ServerProcess
from tests.service.batch.jobs import finish, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess
    from pathlib import Path

IMAGES = 1_000
KILLS = 12


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., bytes]) -> Path:
    """Make a zip of many pictures, one in a hundred of them torn."""
    path = tmp_path_factory.mktemp("many") / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(IMAGES):
            colour = random.Random(number).choice(("red", "green", "blue"))  # noqa: S311 - nothing is secret
            content = picture(colour, number % 20)
            archive.writestr(f"{colour}/{number:05}.png", content[:100] if number % 100 == 7 else content)
    return path


def _kill_at(process: BaseProcess, journal: Path, size: int) -> bool:
    """Kill a job once its journal has so many bytes; return whether it was still running."""
    deadline_s = time.monotonic() + 120
    while process.is_alive() and time.monotonic() < deadline_s:
        try:
            if journal.stat().st_size >= size:
                break
        except FileNotFoundError:
            pass
        time.sleep(0.0005)  # the cores are for the job
    process.kill()
    process.join()
    was_killed = process.exitcode == -signal.SIGKILL
    process.close()
    return was_killed


@pytest.mark.parametrize("out", ["rows.jsonl", "rows.csv", "rows.parquet"])
def test_a_job_that_is_killed_at_any_moment_ends_with_the_rows_of_an_unbroken_one(
    out: str, many: Path, model: Path, tmp_path: Path
) -> None:
    arguments = [str(many), "--model", str(model), "--labels", "folder", "--threads", "2"]
    whole = tmp_path / f"whole_{out}"
    assert finish(tmp_path, *arguments, "--out", whole.name) == 1
    size = 250 * IMAGES
    dice = random.Random(out)  # noqa: S311 - nothing is secret
    kills = KILLS // 2 if out == "rows.jsonl" else KILLS // 4
    killed = 0

    for _ in range(kills):
        broken = tmp_path / out
        journal = tmp_path / f"{out}.partial"
        broken.unlink(missing_ok=True)
        while True:
            killed += _kill_at(
                start(tmp_path, *arguments, "--out", out, "--resume"), journal, dice.randrange(size)
            )
            assert journal.exists() or broken.exists()
            if dice.random() < 0.5:
                break
        assert finish(tmp_path, *arguments, "--out", out, "--resume") in {0, 1}

        assert broken.read_bytes() == whole.read_bytes()
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([out, whole.name, "log"])

    assert killed >= kills / 2


def test_a_torn_row_is_cut_off_and_written_again(many: Path, model: Path, tmp_path: Path) -> None:
    arguments = [f"{many}/green", "--model", str(model), "--threads", "1", "--out", "rows.jsonl"]
    assert finish(tmp_path, *arguments) in {0, 1}
    rows = (tmp_path / "rows.jsonl").read_bytes()
    head = json.dumps(_head_of(tmp_path, arguments)).encode() + b"\n"
    lines = rows.splitlines(keepends=True)

    for torn in (b"", lines[5][:1], lines[5][:-1], b"\0" * 4096, b'{"source": 1}\n' + lines[6]):
        (tmp_path / "rows.jsonl").unlink()
        (tmp_path / "rows.jsonl.partial").write_bytes(head + b"".join(lines[:5]) + torn)
        assert finish(tmp_path, *arguments, "--resume") in {0, 1}
        assert (tmp_path / "rows.jsonl").read_bytes() == rows


def _head_of(folder: Path, arguments: list[str]) -> dict[str, object]:
    """Kill a job at its first bytes, and return the first line of its journal."""
    journal = folder / "rows.jsonl.partial"
    shutil.move(folder / "rows.jsonl", folder / "kept")
    _kill_at(start(folder, *arguments), journal, 1)
    told: dict[str, object] = json.loads(journal.read_bytes().splitlines()[0])
    journal.unlink()
    shutil.move(folder / "kept", folder / "rows.jsonl")
    return told


# A shell that runs the tests in the background has all of them, and what they start, ignore Ctrl-C.
_HEEDING_CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from service.cli import main
main()
"""


def _process(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a job whose standard input stays open, so that a job that reads it does not end too early."""
    command = [sys.executable, "-c", _HEEDING_CTRL_C, "classify", *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        text=True,
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _environment() -> dict[str, str]:
    # Python 3.11 keeps a bytecode file that the limit on the size of files has cut off.
    own = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
    return {**os.environ, **own}


def _wait_for_rows(process: subprocess.Popen[str], journal: Path, rows: int) -> None:
    while not journal.exists() or journal.read_bytes().count(b"\n") < rows:
        assert process.poll() is None
        time.sleep(0.002)  # the cores are for the job


def test_a_full_disk_ends_the_job_with_a_sentence_and_the_rows_stay(
    many: Path, model: Path, tmp_path: Path
) -> None:
    arguments = [str(many), "--model", str(model), "--threads", "1", "--out", "rows.csv"]

    with _process(tmp_path, *arguments) as full:
        resource.prlimit(
            full.pid, resource.RLIMIT_FSIZE, (100_000, 100_000)
        )  # long before it has imported all
        _, said = full.communicate(timeout=120)

    assert full.returncode == 2
    assert said.startswith(
        "error: rows.csv.partial cannot be written: File too large; the rows so far are kept"
    )
    assert said.count("\n") == 1
    kept = (tmp_path / "rows.csv.partial").read_bytes()
    assert kept.endswith(b"}\n")
    assert 70_000 < len(kept) <= 100_000
    assert finish(tmp_path, *arguments, "--resume") == 1
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == IMAGES + 1


def test_ctrl_c_says_how_to_go_on(many: Path, model: Path, tmp_path: Path) -> None:
    with _process(
        tmp_path, str(many), "-", "--model", str(model), "--threads", "1", "--out", "rows.jsonl"
    ) as endless:
        _wait_for_rows(endless, tmp_path / "rows.jsonl.partial", IMAGES // 2)
        endless.send_signal(signal.SIGINT)
        _, said = endless.communicate(timeout=120)

    assert endless.returncode == 130
    assert re.fullmatch(
        r"interrupted; [\d,]+ rows are kept in rows.jsonl.partial, --resume continues from there\n", said
    )


def test_ctrl_c_ends_a_job_whose_server_waits_for_the_next_input(
    many: Path, repository: Path, tmp_path: Path
) -> None:
    with (
        ServerProcess("--models", str(repository), "--threads", "1", log=tmp_path / "log1") as server,
        _process(tmp_path, str(many), "-", "--server", server.address, "--out", "rows.jsonl") as waiting,
    ):
        # All but what waits for more: the client has read the archive, and is at standard input.
        _wait_for_rows(waiting, tmp_path / "rows.jsonl.partial", IMAGES - MOST_UNWRITTEN + 1)
        waiting.send_signal(signal.SIGINT)
        waiting.wait(timeout=120)  # its standard input stays open
        assert waiting.stderr is not None
        said = waiting.stderr.read()

    assert waiting.returncode == 130
    assert re.fullmatch(
        r"interrupted; [\d,]+ rows are kept in rows.jsonl.partial, --resume continues from there\n", said
    )


@pytest.mark.slow
def test_a_server_that_goes_for_good_leaves_what_was_written(
    many: Path, repository: Path, tmp_path: Path
) -> None:
    server = ServerProcess("--models", str(repository), "--threads", "1", log=tmp_path / "log1")
    server.start()
    arguments = [str(many), "-", "--server", server.address, "--deadline-s", "4", "--out", "rows.jsonl"]
    with _process(tmp_path, *arguments) as asking:
        _wait_for_rows(asking, tmp_path / "rows.jsonl.partial", 100)
        server.stop()
        _, said = asking.communicate("none.png\n" * 5_000, timeout=120)

    assert asking.returncode == 2
    assert said.startswith("error: no answer from")
    assert "rows are kept in rows.jsonl.partial, --resume continues from there" in said
