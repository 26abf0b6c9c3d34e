"""All commands of ``cifar10net-train`` share help, examples, variables, JSON, errors and colours."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from tests.terminal import on_terminal
from training.cli import cli, main
from training.commands.demo import demo
from training.commands.presentation import SHELLS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK = ("--epochs", "2", "--batch-size", "25", "--validation-per-class", "5", "--threads", "1")
RUN = ("summary", "manifest", "inside", "demo", "evaluate --model exported")
"""How examples begin that take a second, and need no more than an exported model and images."""


def _commands() -> Iterator[tuple[str, click.Command]]:
    yield "", cli
    yield from cli.commands.items()
    yield from ((f"demo {name}", command) for name, command in demo.commands.items())


COMMANDS = dict(_commands())
EXAMPLES = dict.fromkeys(
    line.strip()
    for command in COMMANDS.values()
    for line in str(command.epilog).splitlines()
    if line.startswith("  ")
)


def _run(*arguments: object) -> dict[str, Any]:
    done = CliRunner().invoke(cli, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


@pytest.fixture
def desk(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with the exported models that the examples name, and be there."""
    exported = root / "exported_models" / "cifar10net"
    for name in ("cifar10net", "lenet"):
        shutil.copytree(exported, tmp_path / "exported_models" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_short_sentence_and_examples(name: str) -> None:
    command = COMMANDS[name]
    assert str(command.epilog).startswith("\b\nExamples:\n  ")
    assert not command.get_short_help_str(limit=62).endswith("...")
    assert str(command.help).partition("\n")[0].endswith(".")


@pytest.mark.parametrize("example", [each for each in EXAMPLES if "completion" not in each])
def test_each_example_is_understood(example: str) -> None:
    words = shlex.split(example)
    program = words.index("training") if "training" in words else words.index("cifar10net-train")
    name, *arguments = words[program + 1 :]
    command = cli.commands[name]
    if isinstance(command, click.Group):
        command = command.commands[arguments.pop(0)]

    assert command.make_context(name, [word for word in arguments if word != "--help"]).command is command


@pytest.mark.parametrize("example", [each for each in EXAMPLES if each.split(" ", 1)[1].startswith(RUN)])
@pytest.mark.usefixtures("desk")
def test_an_example_that_takes_a_second_works(example: str, synthetic: Path, tmp_path: Path) -> None:
    if "--image" in example:
        pytest.skip("it needs the user's own picture")
    where = {"CIFAR10NET_DATA": str(synthetic), "CIFAR10NET_CACHE_DIR": str(tmp_path / "cache")}

    done = CliRunner().invoke(cli, shlex.split(example)[1:], env=where)

    assert done.exit_code == 0, done.output
    if "--json" in example:
        assert isinstance(json.loads(done.stdout), dict)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name])
def test_each_option_has_help_and_names_its_variable(name: str) -> None:
    for option in COMMANDS[name].params:
        if isinstance(option, click.Option):
            told = option.get_help_record(click.Context(COMMANDS[name], show_default=True))
            assert told is not None
            assert "env var: CIFAR10NET_" in told[1], option.opts
            assert option.help, option.opts
    is_group = isinstance(COMMANDS[name], click.Group)
    assert (
        is_group or name == "completion" or "--json" in COMMANDS[name].get_help(click.Context(COMMANDS[name]))
    )


def test_the_environment_sets_options_and_a_resumed_run_refuses_them(tmp_path: Path) -> None:
    (summary,) = (
        json.loads(CliRunner().invoke(cli, ["summary", "--json"], env={name: "lenet"}).stdout)
        for name in ("CIFAR10NET_TRAIN_SUMMARY_NETWORK",)
    )
    resumed = CliRunner().invoke(
        cli, ["fit", "--resume", str(tmp_path)], env={"CIFAR10NET_TRAIN_FIT_SEED": "3"}
    )

    assert summary["network"] == "lenet"
    assert resumed.exit_code == 2
    assert "--seed has no effect with --resume" in resumed.stderr


@pytest.mark.slow
def test_programs_get_an_object_from_training_to_the_twin(synthetic: Path, tmp_path: Path) -> None:
    where = ("--data", synthetic, "--cache-dir", tmp_path / "cache")
    to = ("--to", tmp_path / "models")
    model = tmp_path / "models" / "cifar10net" / "1" / "model.onnx"

    run = _run("fit", *where, "--out", tmp_path / "run", *QUICK)
    exported = _run("export", *where, "--run", tmp_path / "run", *to)
    evaluated = _run("evaluate", *where, "--model", model)
    twin = _run("quantize", model, *where, *to, "--form", "fp16")

    assert (run["run"], run["epoch"]) == (str(tmp_path / "run"), 2)
    assert exported["path"] == str(model)
    assert exported["top1"] == evaluated["top1"]
    assert evaluated["images"] == sum(map(sum, evaluated["confusion"])) == 1_000
    assert twin["top1_float32"] == exported["top1"]
    assert twin["path"] == str(tmp_path / "models" / "cifar10net_fp16" / "1" / "model.onnx")


def test_programs_get_an_object_from_a_comparison(desk: Path, synthetic: Path, tmp_path: Path) -> None:
    where = ("--data", synthetic, "--cache-dir", tmp_path / "cache")

    compared = _run(
        "compare",
        *where,
        "--model",
        desk / "exported_models" / "cifar10net",
        "--rounds",
        2,
        "--shift-images",
        10,
    )

    assert [row["name"] for row in compared["rows"]] == ["cifar10net"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["summary", "--bogus"], "error: No such option '--bogus'; see cifar10net-train summary --help\n"),
        (
            ["fit"],
            "error: give one of --out (a new run) and --resume (a stopped one); see cifar10net-train fit",
        ),
    ],
)
def test_an_error_is_one_sentence_on_standard_error(
    arguments: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["cifar10net-train", *arguments])

    with pytest.raises(SystemExit) as ended:
        main()

    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert said.err.startswith(sentence)
    assert said.err.count("\n") == 1


def test_colours_are_for_terminals_alone_and_off_with_no_color() -> None:
    code = "from training.commands.presentation import console; console().print('hello', style='red')"
    command = [sys.executable, "-c", code]  # all commands print by it

    coloured, plain = on_terminal(command, {}), on_terminal(command, {"NO_COLOR": "1"})
    piped = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=True)

    assert "\x1b[31mhello" in coloured
    assert (plain.strip(), piped.stdout) == ("hello", "hello\n")


@pytest.mark.parametrize("shell", SHELLS)
def test_completions_are_offered(shell: str) -> None:
    current = "--rec" if shell == "fish" else "2"
    asked = {
        "_CIFAR10NET_TRAIN_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "cifar10net-train fit --rec",
        "COMP_CWORD": current,
    }

    offered = CliRunner().invoke(cli, [], prog_name="cifar10net-train", env=asked)
    script = CliRunner().invoke(cli, ["completion", shell], prog_name="cifar10net-train")

    assert "--recipe" in offered.stdout
    assert "--out" not in offered.stdout
    assert f"_CIFAR10NET_TRAIN_COMPLETE={shell}_complete" in script.stdout
