"""README is short, and its commands work."""

from __future__ import annotations

import csv
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from service.cli import cli
from service.server.spawn import ServerProcess
from tests.pages import blocks, commands

if TYPE_CHECKING:
    from pathlib import Path

MOST_WORDS = 1_300
MOST_BYTES = 10_000


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text()


def _section(page: str, title: str) -> str:
    (text,) = re.findall(rf"(?ms)^## {title}\n(.*?)(?=^## |\Z)", page)
    return str(text)


def test_it_is_short_enough_to_be_read(readme: str) -> None:
    assert len(readme.split()) <= MOST_WORDS
    assert len(readme.encode()) <= MOST_BYTES


def test_the_first_screen_has_the_picture_and_the_first_two_commands(readme: str) -> None:
    first = readme.splitlines()[:14]

    assert any("(docs/page.png)" in line for line in first)
    assert any(line.startswith("make demo") for line in first)
    assert any(line.startswith("make test") for line in first)


def test_no_goal_that_was_missed_stands_before_the_first_use(readme: str) -> None:
    assert "missed" not in readme


def test_the_tree_is_the_tree(root: Path) -> None:
    page = (root / "CONTRIBUTING.md").read_text()
    (tree,) = (block for block in blocks(page, "text") if block.startswith("proto/"))
    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=False)
    if tracked.returncode != 0:
        pytest.skip("this is no git checkout")
    files = [line.split("/") for line in tracked.stdout.splitlines()]
    told: dict[str, set[str]] = {}
    folder = ""
    for line in tree.splitlines():
        indent, names = re.findall(r"^( *)((?:\w+/ +)+)", f"{line} ")[0]
        if indent:
            told[folder] |= set(re.findall(r"\w+", names))
        else:
            (folder,) = re.findall(r"\w+", names)
            told[folder] = set()

    assert told.keys() == {parts[0] for parts in files if len(parts) > 1 and not parts[0].startswith(".")}
    for name in ("service", "training"):
        assert told[name] == {parts[1] for parts in files if len(parts) > 2 and parts[0] == name}, name


def test_files_named_in_the_architecture_exist(root: Path) -> None:
    named = set(
        re.findall(
            r"`?((?:service|training|tests|proto)/[\w/.]+\.(?:py|proto))",
            (root / "docs/architecture.md").read_text(),
        )
    )

    assert len(named) > 15
    for path in named:
        assert (root / path).exists(), path


def test_files_named_in_contributing_exist(root: Path) -> None:
    text = (root / "CONTRIBUTING.md").read_text()
    named = [path for path in re.findall(r"`([\w.]+/[\w/.-]*)`", text) if "NAME" not in path]

    assert len(named) > 30
    for path in named:
        assert (root / path).exists() or path == ".venv/", path


def test_the_python_example_runs_as_it_stands(
    root: Path,
    readme: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (example,) = blocks(readme, "python")
    monkeypatch.chdir(root)

    with ServerProcess("--models", str(root / "exported_models"), log=tmp_path / "log") as server:
        exec(example.replace("127.0.0.1:50051", server.address), {})  # noqa: S102 - the README's own code

    assert re.fullmatch(r"(\w+ \d+%\n){2}", capsys.readouterr().out)


def test_the_commands_that_ask_and_classify_a_collection_run_as_they_stand(
    root: Path, readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [words for words in commands(_section(readme, "Ask")) if words[0] == "cifar10net"]
    jobs = commands(_section(readme, "Classify a collection"))
    for name in ("examples", "exported_models"):
        (tmp_path / name).symlink_to(root / name)
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "log"

    with ServerProcess("--models", str(root / "exported_models"), log=log) as server:
        monkeypatch.setenv("CIFAR10NET_CLASSIFY_SERVER", server.address)
        for program, *words in [*asked, *jobs]:
            words = [server.address if word == "127.0.0.1:50051" else word for word in words]  # noqa: PLW2901
            done = CliRunner().invoke(cli, _with_files(tmp_path, words))
            assert (program, done.exit_code) == ("cifar10net", 0), done.output

    assert len(asked) == 2
    texts = [(tmp_path / name).read_text() for name in ("rows.csv", "served.csv")]
    rows, served = (
        [(row["source"], row["label_1"]) for row in csv.DictReader(text.splitlines())] for text in texts
    )
    assert rows == served
    assert len(rows) > 8


def test_the_demo_does_what_the_readme_shows(root: Path, readme: str) -> None:
    shown = next(block for block in blocks(readme, "text") if "SERVING" in block)
    done = subprocess.run(
        [sys.executable, "examples/demo.py"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    first, last = (_lasting(part) for part in shown.split("...\n"))
    printed = _lasting(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert printed[: len(first)] == first
    assert printed[-len(last) :] == last
    assert len(first) + len(last) <= 10


def test_a_batch_job_prints_what_its_page_shows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (root / "docs" / "batch.md").read_text()
    shown = next(block for block in blocks(page, "text") if "--format table" in block)
    command, _, expected = shown.removeprefix("$ ").partition("\n")
    monkeypatch.chdir(root)

    done = CliRunner().invoke(cli, shlex.split(command)[1:], env={"COLUMNS": "120"})

    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == expected


def _with_files(folder: Path, words: list[str]) -> list[str]:
    """Replace patterns by the files that fit, as a shell does."""
    return [
        found
        for word in words
        for found in (sorted(str(path) for path in folder.glob(word)) if "*" in word else [word])
    ]


def _lasting(output: str) -> list[str]:
    """Leave out what differs from run to run: the port, the process and the times."""
    return [re.sub(r"[\d.:]+ (s|ms)\b|:\d+|process \d+", "", line) for line in output.strip().splitlines()]
