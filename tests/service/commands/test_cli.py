"""``cifar10net`` as its users run it: real processes, exit codes, errors on standard error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from service.errors import StartupError
from service.server.spawn import ServerProcess
from tests.commands import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{colour}.png" for colour in ("red", "blue")]
    for path in paths:
        Image.new("RGB", (64, 64), path.stem).save(path)
    return paths


def test_classify_prints_a_bar_a_class(server: str, pictures: list[Path]) -> None:
    done = run("classify", *pictures, "--server", server, "--top", 2)

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == str(pictures[0])
    assert lines[1] == "  red           99.9%  ████████████████████"
    assert lines[2].split() == ["green", "0.0%"]
    assert lines[3] == str(pictures[1])
    assert lines[4].split()[0] == "blue"
    assert len(lines) == 6


def test_classify_can_answer_programs(server: str, pictures: list[Path]) -> None:
    done = run("classify", *pictures, pictures[0].parent / "none.png", "--server", server, "--json")

    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [row["file"] for row in rows[:2]] == [str(path) for path in pictures]
    assert rows[0]["classes"][0]["label"] == "red"
    assert rows[0]["classes"][0]["probability"] == pytest.approx(1, abs=0.01)
    assert (rows[0]["model"], rows[0]["version"]) == ("colours", "1")
    assert rows[2]["error"] == {
        "code": "UNREADABLE_FILE",
        "message": "cannot be read: No such file or directory",
    }


def test_classify_answers_the_good_files_and_names_the_bad(
    server: str, pictures: list[Path], tmp_path: Path
) -> None:
    junk = tmp_path / "junk.jpg"
    junk.write_bytes(b"junk")

    done = run("classify", pictures[0], junk, pictures[1], "--server", server)

    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if not line.startswith(" ")] == [
        str(pictures[0]),
        str(pictures[1]),
    ]
    assert done.stderr.startswith(f"{junk}: begins with 6a 75 6e 6b, which is no JPEG")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("classify",), 2, "Missing argument 'SOURCES...'"),
        (("classify", "{picture}", "--top", 11), 2, "11 is not in the range 1<=x<=10"),
        (("classify", "{picture}", "--server", "127.0.0.1:1"), 2, "error: no answer from 127.0.0.1:1"),
        (
            ("classify", "{picture}", "--server", "{server}", "--model", "lenet"),
            2,
            "NOT_FOUND: no model is called",
        ),
        (("classify", "{picture}", "--deadline-s", 0), 2, "deadline_s is 0.0, wanted"),
        (("serve", "--max-queue-delay-s", 70), 2, "max_queue_delay_s is 70.0, wanted 0 to 60"),
        (("models", "--server", "127.0.0.1:1"), 2, "error: no answer from 127.0.0.1:1"),
    ],
)
def test_what_cannot_run_is_exit_code_2(
    server: str, pictures: list[Path], arguments: tuple[object, ...], code: int, message: str
) -> None:
    done = run(*(str(each).format(picture=pictures[0], server=server) for each in arguments))

    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_models_lists_what_is_served(server: str) -> None:
    table = run("models", "--server", server)
    rows = [json.loads(line) for line in run("models", "--server", server, "--json").stdout.splitlines()]

    assert table.returncode == 0
    assert "colours" in table.stdout
    assert "CPU" in table.stdout
    assert [(row["name"], row["version"], row.get("is_default"), row["state"]) for row in rows] == [
        ("colours", "1", True, "READY"),
        ("shades", "3", False, "READY"),
        ("shades", "1", None, "UNAVAILABLE"),
    ]
    assert "shades 1: the server answers with versions latest:1" in table.stdout


def test_health_is_its_exit_code(server: str) -> None:
    healthy = run("health", "--server", server)
    unknown = run("health", "--server", server, "--service", "none")
    absent = run("health", "--server", "127.0.0.1:1", "--deadline-s", 0.2)

    assert (healthy.returncode, healthy.stdout) == (0, "SERVING\n")
    assert (unknown.returncode, unknown.stdout) == (1, "NOT_FOUND\n")
    assert absent.returncode == 1


def test_a_server_process_that_cannot_start_is_an_error(tmp_path: Path) -> None:
    log = tmp_path / "log"
    server = ServerProcess("--models", str(tmp_path), log=log)

    with pytest.raises(StartupError, match=r"did not start \(exit code 1\)"):
        server.start()

    assert "has no model" in log.read_text()


def test_the_log_is_json_for_programs_and_says_why_a_call_was_refused(
    repository: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with ServerProcess("--models", str(repository), log=log) as server:
        run("classify", __file__, "--server", server.address, "--model", "lenet")

    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [event["event"] for event in events] == [
        "model ready", "model not verified", "model ready", "model not verified", "serving", "cpus",
        "call refused", "stopping", "stopped",
    ]  # fmt: skip
    assert events[6]["status"] == "NOT_FOUND"
    assert events[6]["reason"].startswith("no model is called 'lenet'")
