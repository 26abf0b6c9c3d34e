"""Jobs on a real Ray cluster, whose workers are killed in the middle."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from click.testing import CliRunner

from service.batch.engines.local_engine import LocalEngine
from service.batch.ray.output_folder import FolderTarget
from service.cli import cli
from service.errors import JobError
from tests.service.batch.ray.test_output_folder import agree, of_the_local_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Rows = Callable[..., list[dict[str, Any]]]

with_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray, of the extra ray, is not installed")
PHOTOGRAPHS = 200
PART_ROWS = 5
_PATIENCE_S = 240


class Cluster(NamedTuple):
    """A cluster in processes of its own."""

    process: subprocess.Popen[str]
    address: str
    folder: Path
    environment: dict[str, str]

    def start(self, folder: Path, *arguments: str) -> subprocess.Popen[str]:
        """Begin ``cifar10net classify`` on it."""
        command = [sys.executable, "-c", _HEEDING_CTRL_C, "classify", "--engine", "ray"]
        command += ["--ray-address", self.address, *arguments]
        return subprocess.Popen(
            command,
            cwd=folder,
            text=True,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def workers(self) -> list[int]:
        """Find the processes that hold a model, or are about to."""
        return [pid for pid in _below(self.process.pid) if b"MapWorker" in _command(pid)]


# A shell that runs the tests in the background has all of them, and what they start, ignore Ctrl-C.
_HEEDING_CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from service.cli import main
main()
"""


def _below(pid: int) -> list[int]:
    try:
        tasks = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return [one for task in tasks for child in task.split() for one in (int(child), *_below(int(child)))]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _is_running(pid: int) -> bool:
    return bool(_command(pid))  # a zombie has none


@pytest.fixture(scope="module")
def cluster(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start a cluster for all tests, stop it, and check that nothing is left."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)]),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "HOME": str(tmp_path_factory.mktemp("home")),
    }
    command = [sys.executable, "-m", "tests.service.batch.ray.cluster"]
    process = subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root
    )
    assert process.stdout is not None
    address, folder = process.stdout.readline().split()
    started = _below(process.pid)
    assert len(started) > 3

    yield Cluster(process, address, Path(folder), environment)

    started = list({*started, *_below(process.pid)})
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert not [pid for pid in started if _is_running(pid)]
    assert not Path(folder).exists()
    assert not Path(environment["HOME"], ".ray").exists()


@pytest.fixture
def photographs(root: Path, tmp_path: Path) -> Path:
    """Make a list of real photographs, many times over, and of other files."""
    images = sorted(str(path) for path in (root / "examples/images").glob("*.*g"))
    lines = [images[number % len(images)] for number in range(PHOTOGRAPHS)]
    lines[7], lines[-1] = "none.jpg", str(root / "README.md")
    (tmp_path / "list.txt").write_text("\n".join(lines))
    return tmp_path / "list.txt"


def _wait_for_parts(process: subprocess.Popen[str], journal: Path, parts: int) -> None:
    while not journal.exists() or journal.read_bytes().count(b"\n") <= parts:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)  # the cores are for the job


def _but_progress(said: str) -> list[str]:
    """Return the lines without those that a slow job prints every half minute."""
    return [line for line in said.splitlines() if not re.fullmatch(r"[\d,]+ images, .*errors", line)]


@with_ray
@pytest.mark.timeout(2 * _PATIENCE_S)
def test_rows_are_those_of_the_local_engine_though_a_worker_is_killed(
    cluster: Cluster, root: Path, photographs: Path, tmp_path: Path, rows: Rows
) -> None:
    model = root / "exported_models/cifar10net"
    arguments = [photographs.name, "--model", str(model), "--labels", "folder", "--part-rows", str(PART_ROWS)]

    job = cluster.start(tmp_path, *arguments, "--out", "rows", "--json")
    _wait_for_parts(job, tmp_path / "rows.partial", 2)
    victim = cluster.workers()[0]
    os.kill(victim, signal.SIGKILL)
    assert (tmp_path / "rows.partial").exists()  # the job is not done
    told, said = job.communicate(timeout=_PATIENCE_S)

    assert job.returncode == 1, said
    assert not _but_progress(said)
    summary = json.loads(told)
    assert (summary["images"], summary["errors"]) == (
        PHOTOGRAPHS,
        {"UNREADABLE_FILE": 1, "UNSUPPORTED_FORMAT": 1},
    )
    engine = LocalEngine(str(model), "", 1)
    agree(rows(), of_the_local_engine(engine, [str(photographs)]))
    manifest = json.loads((tmp_path / "rows/_manifest.json").read_text())
    assert len(manifest["parts"]) == PHOTOGRAPHS / PART_ROWS
    assert victim not in cluster.workers()


@with_ray
@pytest.mark.timeout(2 * _PATIENCE_S)
def test_a_job_that_was_interrupted_goes_on(
    cluster: Cluster, root: Path, photographs: Path, tmp_path: Path, rows: Rows
) -> None:
    model = root / "exported_models/cifar10net"
    arguments = [photographs.name, "--model", str(model), "--labels", "folder", "--part-rows", str(PART_ROWS)]
    arguments += ["--inputs", "here", "--out", "rows", "--resume"]

    job = cluster.start(tmp_path, *arguments)
    _wait_for_parts(job, tmp_path / "rows.partial", 2)
    job.send_signal(signal.SIGINT)
    _, said = job.communicate(timeout=_PATIENCE_S)

    assert job.returncode == 130
    [line] = _but_progress(said)
    assert line.startswith("interrupted; ")
    assert line.endswith("--resume continues from there")
    rest = cluster.start(tmp_path, *arguments)
    told, said = rest.communicate(timeout=_PATIENCE_S)
    assert (rest.returncode, _but_progress(said)) == (1, [])
    assert "of them earlier)" in told
    agree(rows(), of_the_local_engine(LocalEngine(str(model), "", 1), [str(photographs)]))


@with_ray
@pytest.mark.timeout(2 * _PATIENCE_S)
def test_an_error_on_a_worker_ends_the_job_with_one_sentence(
    cluster: Cluster, model: Path, album: Path, tmp_path: Path
) -> None:
    (tmp_path / "torn.tar").write_bytes(b"\0" * 10240)  # empty, and good
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b torn")
    job = cluster.start(tmp_path, f"{tmp_path}/*.tar.gz", str(album), "--model", str(model), "--out", "rows")

    _, said = job.communicate(timeout=_PATIENCE_S)

    assert job.returncode == 2
    [line] = _but_progress(said)
    assert line.startswith(f"error: {tmp_path}/a.tar.gz is not a tar archive: ")
    assert not (tmp_path / "rows").exists()


@with_ray
def test_without_a_cluster_there_is_one_sentence(
    cluster: Cluster, model: Path, album: Path, tmp_path: Path
) -> None:
    nowhere = cluster._replace(address="127.0.0.1:1")

    job = nowhere.start(tmp_path, str(album), "--model", str(model), "--out", "rows")

    assert job.communicate(timeout=_PATIENCE_S)[1] == (
        "error: no Ray cluster can be joined at 127.0.0.1:1: Connection refused\n"
    )
    assert job.returncode == 2


def test_without_ray_there_is_one_sentence(
    model: Path, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "")  # put back afterwards what is set
    out = str(tmp_path / "rows")

    job = CliRunner().invoke(
        cli, ["classify", str(album), "--engine", "ray", "--model", str(model), "--out", out]
    )

    assert isinstance(job.exception, JobError)
    assert "--engine ray needs the extra ray" in str(job.exception)
    assert not Path(out).exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--engine", "ray", "--out", "rows"], "wants --model with a file or folder"),
        (["--engine", "ray", "--model", "./m"], "wants --out, a folder for the parts"),
        (["--engine", "ray", "--model", "./m", "--out", "rows", "--format", "csv"], "writes Parquet"),
        (["-", "--engine", "ray", "--model", "./m", "--out", "rows"], "does not read standard input"),
        (["--engine", "ray", "--model", "./m", "--out", "rows", "--ray-address", "ray://a:1"], "HOST:PORT"),
        (["--actors", "2", "--model", "./m"], "--actors is for --engine ray"),
        (["--part-rows", "4096"], "--part-rows is for --engine ray"),
        (["--engine", "local"], "--engine local wants --model with a file or folder"),
        (["--engine", "server", "--model", "./m"], "--engine server wants a model's name"),
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments: list[str], sentence: str) -> None:
    refused = CliRunner().invoke(cli, ["classify", "photo.jpg", *arguments])

    assert refused.exit_code == 2
    assert sentence in refused.output


def test_a_finished_output_is_all_that_resume_asks_for(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows/_manifest.json").touch()

    assert not FolderTarget(out=tmp_path / "rows", resume=True).check()
