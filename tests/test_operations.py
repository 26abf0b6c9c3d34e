"""docs/operations.md agrees with the code: tables, log events, options, examples and the tests it cites."""

from __future__ import annotations

import ast
import re
import shlex
from typing import TYPE_CHECKING

import click
import pytest

from docs import generate, tables
from service import errors
from service.cli import cli
from service.errors import ServiceError
from service.observability.logs import LibraryLog
from service.observability.metrics.table import METRICS
from service.server.spawn import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
_REFUSALS = {"refused", "_refused_head", "note"}
"""Functions of service.rpc.server whose argument is an event that service.rpc.refusals logs."""


@pytest.fixture(scope="module")
def page() -> str:
    return generate.PAGE.read_text()


def _section(page: str, title: str) -> str:
    [text] = re.findall(rf"(?ms)^## {title}\n(.*?)(?=^## |\Z)", page)
    return str(text)


def test_the_tables_are_the_codes(page: str) -> None:
    assert generate.filled(page) == page, "run `make docs`"


def test_markers_that_are_gone_are_missed(page: str) -> None:
    with pytest.raises(SystemExit, match="lacks the markers of 'metrics'"):
        generate.filled(page.replace("make docs: metrics: end", ""))


def test_each_option_comes_from_the_variable_that_is_named(
    page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = 0
    for name, command in cli.commands.items():
        root = click.Context(cli, info_name="cifar10net", auto_envvar_prefix="CIFAR10NET")
        context = click.Context(command, parent=root, info_name=name)
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                variable = tables.variable(option, context)
                monkeypatch.setenv(variable, "1")
                assert option.value_from_envvar(context), variable
                assert f"| `{variable}` |" in page
                seen += 1
    assert seen > 80


def test_the_tree_of_errors_is_that_of_the_classes() -> None:
    meanings = dict(tables.error_tree())
    classes = {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }

    assert meanings.keys() == classes.keys()
    for name, error in classes.items():
        if issubclass(error, ServiceError) and error is not ServiceError:
            assert meanings[name].startswith(f"{error.code.name}: "), name


def _events(root: Path) -> Iterator[tuple[str, str]]:
    """Find every event that the code of the server logs, and its level."""
    for path in (root / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args or (event := _text(node.args[0])) is None:
                continue
            if isinstance(node.func, ast.Name) and node.func.id == LibraryLog.__name__:
                yield event, "warning"
            if not isinstance(node.func, ast.Attribute):
                continue
            name = node.func.attr
            if name in _LEVELS and isinstance(node.func.value, ast.Name) and "log" in node.func.value.id:
                yield event, _LEVELS[name]
            elif name in _REFUSALS and path.name == "server.py":
                has_error = any(keyword.arg == "error" for keyword in node.keywords)
                yield event, "error" if has_error else "info"


def _text(node: ast.expr) -> str | None:
    """Return a string of the code, with … for the values in an f-string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "…" for part in node.values)
    return None


def test_every_event_of_the_log_is_explained_with_its_level(root: Path, page: str) -> None:
    explained = re.findall(r"(?m)^\| `([^`]+)` \| (debug|info|warning|error) \| \S", _section(page, "Log"))

    assert len(explained) > 35
    assert sorted(explained) == sorted(set(_events(root)))
    assert [event for event, _ in explained] == sorted(event for event, _ in explained)


def _failures(page: str) -> list[list[str]]:
    """Return the rows of the table of failures, without its head."""
    lines = [line for line in _section(page, "What may fail").splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines[1:]]


def test_what_may_fail_is_shown_by_tests_that_exist(root: Path, page: str) -> None:
    rows = _failures(page)

    assert len(rows) > 25
    for *_, shown_by in rows:
        path, _, name = shown_by.strip("`").partition("::")
        functions = {
            node.name
            for node in ast.walk(ast.parse((root / path).read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert name in functions, shown_by


def test_every_option_that_is_mentioned_exists(page: str) -> None:
    known = {option for command in cli.commands.values() for each in command.params for option in each.opts}

    assert set(re.findall(r"`?(--[a-z][a-z-]+)", page)) <= known


def test_events_and_metrics_that_are_mentioned_exist(root: Path, page: str) -> None:
    events = {event for event, _ in _events(root)}
    mentioned = {
        event for _, _, reaction, _ in _failures(page) for event in re.findall("`([^`]+)`", reaction)
    }

    assert len(mentioned) > 4
    assert mentioned <= events
    assert set(re.findall(r"cifar10net_[a-z_]+", page)) <= {metric.full_name for metric in METRICS}


def test_the_python_example_brings_what_it_says(
    root: Path, page: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [example] = re.findall(r"(?s)```python\n(.*?)```", page)

    with ServerProcess("--models", str(root / "exported_models"), log=tmp_path / "log") as server:
        exec(example.replace("127.0.0.1:50051", server.address), {})  # noqa: S102 - the page's own code

    printed = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert printed["x-request-id"] == "order-66"
    parts = [part.partition(";dur=")[0] for part in printed["server-timing"].split(", ")]
    assert parts == ["queue", "batch", "compute", "total"]


def test_commands_and_options_of_the_examples_exist(page: str) -> None:
    blocks = re.findall(r"(?s)```sh\n(.*?)```", page)
    lines = [words for block in blocks for line in block.splitlines() if (words := shlex.split(line))]

    assert len(lines) > 8
    for program, command, *words in lines:
        assert program == "cifar10net"
        known = {option for parameter in cli.commands[command].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, words


def test_addresses_within_the_page_lead_to_its_titles(page: str) -> None:
    titles = {title.lower().replace(" ", "-") for title in re.findall(r"(?m)^## (.+)$", page)}

    assert set(re.findall(r"\]\(#([^)]+)\)", page)) == titles
