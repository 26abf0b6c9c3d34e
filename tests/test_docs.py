"""Every page of documentation: line lengths, links and code blocks."""

from __future__ import annotations

import ast
import re
import subprocess
from importlib import import_module
from pathlib import Path

import click
import pytest
import yaml

from service.cli import cli as service_cli
from tests.pages import blocks, commands, prose
from training.cli import cli as training_cli

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
WIDEST = 120
COMMANDS: dict[str, click.Group] = {"cifar10net": service_cli, "cifar10net-train": training_cli}
PACKAGES = ("cifar10net", "service", "training")
LANGUAGES = {"sh", "python", "yaml", "text", "go", ""}
"""Of blocks: text or none is output or a drawing; go is compiled by nobody here, as its page says."""
FOREIGN_OPTIONS = {
    *("--address", "--head"),  # ray
    *("--dist", "--no-loadscope-reorder"),  # pytest-xdist
    *("--force-recreate", "--profile", "--rm", "--scale"),  # docker compose
    *("--no-compile", "--no-deps"),  # pip
    "--nproc-per-node",  # torchrun
    "--previous",  # kubectl
    "--single-child",  # dumb-init
    "--steps",  # benchmarks.train
}
"""Options in sentences that other programs have."""

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@every_page
def test_lines_of_prose_have_at_most_120_characters(page: Path) -> None:
    too_long = [
        f"{page.relative_to(ROOT)}:{number}: {len(line)} characters"
        for number, line in prose(page.read_text())
        if len(line) > WIDEST and " " in line.lstrip(" -*>0123456789.")  # one long link cannot be broken
    ]

    assert not too_long


@every_page
def test_each_block_is_closed_and_of_a_language_that_is_checked(page: Path) -> None:
    fences = re.findall(r"(?m)^\s*```(.*)$", page.read_text())

    assert len(fences) % 2 == 0
    assert set(fences[::2]) <= LANGUAGES
    assert not any(fences[1::2])


@every_page
def test_shell_blocks_are_of_bash_and_name_commands_and_options_that_exist(page: Path) -> None:
    text = page.read_text()
    for block in blocks(text, "sh"):
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    for words in map(_ours, commands(text)):
        if words[0] in COMMANDS:
            _check_options(COMMANDS[words[0]], words)


@every_page
def test_options_in_sentences_exist(page: Path) -> None:
    text = "\n".join(line for _, line in prose(page.read_text()))
    named = {
        option for code in re.findall(r"`([^`]+)`", text) for option in re.findall(r"--[a-z][\w-]+", code)
    }

    assert named <= set().union(*map(_all_options, COMMANDS.values())) | FOREIGN_OPTIONS


@every_page
def test_make_targets_exist(page: Path, targets: set[str]) -> None:
    text = page.read_text()
    named = set(re.findall(r"`make ([a-z][\w-]*)", text))
    for program, *words in commands(text):
        if program == "make":
            named |= {word for word in words if not word.startswith("-") and "=" not in word}

    assert {name for name in named if not name.endswith("NAME")} <= targets


@every_page
def test_python_blocks_are_python_and_import_names_that_exist(page: Path) -> None:
    for block in blocks(page.read_text(), "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in PACKAGES:
                module = import_module(node.module or "")
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


@every_page
def test_yaml_blocks_are_yaml(page: Path) -> None:
    for block in blocks(page.read_text(), "yaml"):
        assert yaml.safe_load(block)


@every_page
def test_links_lead_to_files_and_titles(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in link]

    for link in links:
        path, _, title = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if title:
            assert title in _titles(target.read_text()), link


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in re.findall(r"\]\(([^)#\s]+)", index.read_text())}
    pages = {page for page in (ROOT / "docs").glob("*.md") if page != index}

    assert pages | {ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md")} <= linked
    assert ROOT / "docs" / "decisions" / "README.md" in linked


def test_every_decision_is_in_their_index() -> None:
    folder = ROOT / "docs" / "decisions"
    linked = re.findall(r"(?m)^\d+\. \[.*\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text())

    assert linked == sorted(path.name for path in folder.glob("0*.md"))


@pytest.fixture(scope="session")
def targets() -> set[str]:
    """Every target of the Makefile that a person may ask for."""
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    relatives = re.findall(r"(?m)^RELATIVES := (.*)$", (ROOT / "Makefile").read_text())
    trainings = {f"train-{name}" for line in relatives for name in line.split()}
    return trainings | {line.split()[1] for line in done.stdout.splitlines()}


def _ours(words: list[str]) -> list[str]:
    """Replace ``torchrun ... -m training`` and ``python -m training`` by the command that it is."""
    for index in range(len(words) - 1):
        if words[index : index + 2] == ["-m", "training"]:
            return ["cifar10net-train", *words[index + 2 :]]
    return words


def _check_options(command: click.Command, words: list[str]) -> None:
    rest = words[1:]
    while isinstance(command, click.Group) and rest and rest[0] != "--help":
        assert rest[0] in command.commands, words
        command, rest = command.commands[rest[0]], rest[1:]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known, words


def _all_options(command: click.Command) -> set[str]:
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    own = {option for parameter in command.params for option in parameter.opts}
    return own.union(*map(_all_options, inner))


def _titles(page: str) -> set[str]:
    """Return what GitHub makes of a page's titles for links: lower case, hyphens, no other marks."""
    titles = re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?ms)^```.*?^```$", "", page))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
