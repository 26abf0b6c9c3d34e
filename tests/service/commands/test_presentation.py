"""All commands have the same kind of help, examples, variables, JSON, errors and colours."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from service.cli import cli
from service.server.spawn import ServerProcess
from tests.commands import run
from tests.terminal import on_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS: dict[str, click.Command] = {"cifar10net": cli, **cli.commands}
OPTIONS = [
    (name, option)
    for name, command in cli.commands.items()
    for option in command.params
    if isinstance(option, click.Option) and not option.hidden
]
_PLAIN = re.compile(r"cifar10net [\w ./:-]+")
"""Examples that need no shell."""
WITH_JSON = sorted(set(cli.commands) - {"completion"})


def _examples(command: click.Command) -> list[str]:
    head, *lines = str(command.epilog).removeprefix("\b\n").splitlines()
    assert head == "Examples:"
    return [line.strip() for line in lines]


def _is_run(example: str) -> bool:
    """Whether a test runs the example: not servers and pages, which run on, nor what needs example.org."""
    return (
        not any(each in example for each in ("cifar10net serve", "cifar10net web"))
        and "example.org" not in example
    )


@pytest.fixture(scope="module")
def answering(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Run a server with the model that the examples name."""
    folder = tmp_path_factory.mktemp("answering")
    shutil.copytree(root / "exported_models" / "cifar10net", folder / "models" / "cifar10net")
    with ServerProcess("--models", str(folder / "models"), log=folder / "log") as server:
        yield server


@pytest.fixture
def desk(root: Path, tmp_path: Path) -> Path:
    """Make a folder with the files that the examples name."""
    photo = root / "examples" / "images" / "dog.jpg"
    (tmp_path / "photos" / "summer").mkdir(parents=True)
    (tmp_path / ".config" / "fish" / "completions").mkdir(parents=True)
    for path in ("photo.jpg", "photos/1.jpg", "photos/summer/2.jpg"):
        shutil.copy(photo, tmp_path / path)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.write(photo, "summer/dog/1.jpg")
    shutil.copytree(root / "exported_models" / "cifar10net", tmp_path / "exported_models" / "cifar10net")
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_each_example_works_as_it_stands(name: str, answering: ServerProcess, desk: Path) -> None:
    programs = Path(sys.executable).parent
    variables = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(desk),
        **{f"CIFAR10NET_{each.upper()}_SERVER": answering.address for each in cli.commands},
    }
    examples = _examples(COMMANDS[name])

    assert examples
    for example in filter(_is_run, examples):
        script = example.replace("127.0.0.1:50051", answering.address)
        if _PLAIN.fullmatch(script):
            done = run(*script.split()[1:], folder=desk, environment=variables)
        else:
            done = subprocess.run(
                ["bash", "-c", script],
                cwd=desk,
                env=variables,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
        assert done.returncode == 0, (example, done.stderr)


@pytest.mark.parametrize(
    "example",
    [line for command in COMMANDS.values() for line in _examples(command) if not _is_run(line)],
)
def test_an_example_that_is_not_run_is_understood(example: str) -> None:
    words = shlex.split(example)
    begin = words.index("cifar10net")
    command = cli.commands[words[begin + 1]]
    arguments = [word for word in words[begin + 2 :] if word != "--help"]

    assert command.make_context(words[begin + 1], arguments).params


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_begins_with_a_short_sentence(name: str) -> None:
    summary = COMMANDS[name].get_short_help_str(limit=62)

    assert not summary.endswith("...")
    assert summary[0].isupper()
    assert str(COMMANDS[name].help).partition("\n")[0].endswith(".")


@pytest.mark.parametrize(
    ("name", "option"), OPTIONS, ids=[f"{name} {each.opts[0]}" for name, each in OPTIONS]
)
def test_each_option_has_a_sentence_and_names_its_variable(name: str, option: click.Option) -> None:
    [long] = option.opts
    variable = f"CIFAR10NET_{name}_{long[2:]}".replace("-", "_").upper()
    record = option.get_help_record(click.Context(cli.commands[name], show_default=True))

    assert record is not None
    assert f"env var: {variable}" in record[1]
    assert str(option.help)[0].isalnum()
    assert str(option.help)[-1] in ".;)"


def test_options_of_one_name_are_alike() -> None:
    """The same name takes the same kind of value everywhere, and a number of seconds ends with -s."""
    kinds: dict[str, set[str]] = {}
    for _, option in OPTIONS:
        kind = "flag" if option.is_flag else option.type.name.removesuffix(" range")
        kinds.setdefault(option.opts[0], set()).add(kind)

    assert {name: found for name, found in kinds.items() if len(found) > 1} == {}
    assert not [name for name in kinds if "timeout" in name or name.endswith(("-seconds", "-mb"))]
    for name in ("models", "stats", "health", "classify", "doctor"):
        options = {option.opts[0] for other, option in OPTIONS if other == name}
        assert options >= {"--server", "--tls", "--tls-ca", "--api-key-file", "--deadline-s", "--json"}


@pytest.mark.parametrize("name", WITH_JSON)
def test_each_command_can_answer_programs(name: str) -> None:
    assert "--json" in {option.opts[0] for other, option in OPTIONS if other == name}


def test_health_and_keys_are_objects_for_programs(server: str, tmp_path: Path) -> None:
    health = CliRunner().invoke(cli, ["health", "--server", server, "--service", "colours", "--json"])
    key = CliRunner().invoke(cli, ["key", "alice", "--to", str(tmp_path / "keys.txt"), "--json"])

    assert json.loads(health.stdout) == {"server": server, "service": "colours", "status": "SERVING"}
    printed = json.loads(key.stdout)
    assert printed.keys() == {"name", "key", "line"}
    assert (tmp_path / "keys.txt").read_text() == f"{printed['line']}\n"


def test_a_server_announces_itself_to_programs(repository: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "service.cli",
        "serve",
        "--models",
        str(repository),
        "--port",
        "0",
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        printed = json.loads(server.stdout.readline())
        server.terminate()

    assert printed["pid"] == server.pid
    assert printed["address"].startswith("127.0.0.1:")
    assert server.returncode == 0


def test_the_version_is_the_installed_one() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "--version"], capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("cifar10net, version ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["bogus"], "error: No such command 'bogus'; see cifar10net --help\n"),
        (["models", "--bogus"], "error: No such option '--bogus'; see cifar10net models --help\n"),
        (["classify"], "error: Missing argument 'SOURCES...'; see cifar10net classify --help\n"),
        (["key", "a", "b"], "error: Got unexpected extra argument (b); see cifar10net key --help\n"),
        (
            ["completion", "tcsh"],
            "'tcsh' is not one of 'bash', 'zsh', 'fish'; see cifar10net completion --help\n",
        ),
        (["health", "--deadline-s", "0"], "error: deadline_s is 0.0, wanted 0.001 to 86400\n"),
        (["health", "--server", "nowhere"], "error: server is 'nowhere', wanted HOST:PORT such as"),
    ],
)
def test_an_error_is_one_sentence_on_standard_error(arguments: list[str], sentence: str) -> None:
    done = run(*arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


_LOG = "from service.observability.logs import configure; configure('console', 'info'); import structlog; "
_LOG += "structlog.get_logger().info('hello', name='world')"


@pytest.mark.parametrize(
    "command",
    [("-m", "service.cli", "doctor"), ("-m", "service.cli", "models"), ("-c", _LOG)],
    ids=["click", "rich", "structlog"],
)
def test_colours_are_for_terminals_alone_and_off_with_no_color(command: tuple[str, ...], server: str) -> None:
    variables = {"CIFAR10NET_MODELS_SERVER": server}
    whole = [sys.executable, *command]

    coloured = on_terminal(whole, variables)
    plain = on_terminal(whole, variables | {"NO_COLOR": "1"})
    piped = subprocess.run(
        whole,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )

    assert "\x1b[" in coloured
    assert "\x1b" not in plain
    assert "\x1b" not in piped.stdout
    assert len(plain) > 20
