"""What the README says can be done, can be done."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from service.cli import cli as service_cli
from service.server.spawn import ServerProcess
from training.cli import cli as training_cli

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = {"cifar10net": service_cli, "cifar10net-train": training_cli}


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text()


def _blocks(readme: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", readme, flags=re.DOTALL)


def _command_lines(readme: str) -> list[list[str]]:
    lines = [line for block in _blocks(readme, "sh") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def test_every_make_target_exists_and_has_a_line_of_help(root: Path, readme: str) -> None:
    told = set(re.findall(r"`make ([a-z0-9-]+)`", readme))
    told |= {words[1] for words in _command_lines(readme) if words[0] == "make"}
    done = subprocess.run(["make", "help"], cwd=root, capture_output=True, text=True, check=True)
    listed = {line.split()[1] for line in done.stdout.splitlines()}

    assert {"demo", "test", "serve", "check", "train", "bench", "help"} <= told | listed
    assert told <= listed


def test_every_command_and_option_exists(readme: str) -> None:
    seen = 0
    for words in _command_lines(readme):
        if words[0] not in COMMANDS:
            continue
        command = COMMANDS[words[0]].commands[words[1]]
        options = [word for word in words[2:] if word.startswith("--") and word != "--help"]
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(options) <= known, words
        assert isinstance(command, click.Command)
        seen += 1
    assert seen >= 10


def test_the_two_first_commands_are_in_the_first_screen(readme: str) -> None:
    first = readme.splitlines()[:14]

    assert any(line.startswith("make demo") for line in first)
    assert any(line.startswith("make test") for line in first)


def test_the_tree_is_the_tree(root: Path, readme: str) -> None:
    (tree,) = (block for block in _blocks(readme, "text") if block.startswith("proto/"))
    told = {line.split()[0].rstrip("/") for line in tree.splitlines()}
    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=False)
    if tracked.returncode != 0:
        pytest.skip("this is no git checkout")
    folders = {line.split("/")[0] for line in tracked.stdout.splitlines() if "/" in line}

    assert told == {folder for folder in folders if not folder.startswith(".")}


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/architecture.md",
        "docs/batch.md",
        "docs/deployment.md",
        "docs/experiments.md",
        "docs/operations.md",
        "docs/decisions/README.md",
    ],
)
def test_links_lead_somewhere(root: Path, page: str) -> None:
    text = (root / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]

    for link in links:
        assert ((root / page).parent / link.partition("#")[0]).exists(), link


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


def test_the_python_example_runs_as_it_stands(
    root: Path,
    readme: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (example,) = _blocks(readme, "python")
    monkeypatch.chdir(root)

    with ServerProcess("--models", str(root / "exported_models"), log=tmp_path / "log") as server:
        exec(example.replace("127.0.0.1:50051", server.address), {})  # noqa: S102 - the README's own code

    assert re.fullmatch(r"(\w+ \d+%\n){2}", capsys.readouterr().out)


def test_the_demo_does_what_the_readme_shows(root: Path, readme: str) -> None:
    shown = next(block for block in _blocks(readme, "text") if "SERVING" in block)
    done = subprocess.run(
        [sys.executable, "examples/demo.py"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert _lasting(done.stdout) == _lasting(shown)


def test_a_batch_job_prints_what_the_readme_shows(
    root: Path, readme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = next(block for block in _blocks(readme, "text") if "$ cifar10net classify" in block)
    command, _, expected = shown.rpartition("$ ")[2].partition("\n")
    monkeypatch.chdir(root)

    done = CliRunner().invoke(service_cli, shlex.split(command)[1:], env={"COLUMNS": "120"})

    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == expected


def _lasting(output: str) -> list[str]:
    """Leave out what differs from run to run: the port, the process and the times."""
    return [re.sub(r"[\d.:]+ (s|ms)\b|:\d+|process \d+", "", line) for line in output.strip().splitlines()]
