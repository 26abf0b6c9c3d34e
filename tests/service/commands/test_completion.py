"""Shells complete commands, options, choices and files, in a real bash, zsh and fish too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import run

PROGRAMS = Path(sys.executable).parent
SHELLS = ("bash", "zsh", "fish")


def _variables(**more: str) -> dict[str, str]:
    return os.environ | {"PATH": f"{PROGRAMS}:{os.environ['PATH']}"} | more


def _ask(shell: str, words: list[str]) -> list[str]:
    """Ask for completions of the last word, with the variables that click's scripts set."""
    current = words[-1] if shell == "fish" else str(len(words) - 1)
    asked = {
        "_CIFAR10NET_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": current,
    }
    done = run(environment=_variables(**asked))
    assert done.returncode == 0, done
    return done.stdout.splitlines()


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_options_and_choices_are_offered(shell: str) -> None:
    commands, options, choices = (
        " ".join(_ask(shell, ["cifar10net", *words]))
        for words in (["cl"], ["classify", "--tl"], ["serve", "--provider", "c"])
    )

    assert "classify" in commands
    assert "serve" not in commands
    assert all(option in options for option in ("--tls", "--tls-ca", "--tls-cert", "--tls-key"))
    assert "cpu" in choices
    assert "cuda" in choices
    assert "openvino" not in choices


def test_pictures_are_completed_as_files() -> None:
    assert _ask("bash", ["cifar10net", "classify", "ph"]) == ["file,ph"]
    assert _ask("bash", ["cifar10net", "classify", "--model", "exp"]) == ["file,exp"]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_for_this_program(shell: str) -> None:
    done = run("completion", shell)

    assert done.returncode == 0
    assert f"_CIFAR10NET_COMPLETE={shell}_complete" in done.stdout
    assert done.stderr == ""


def _real(shell: str) -> str:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"there is no {shell} here")
    return path


def test_a_real_bash_completes() -> None:
    script = """
    eval "$(cifar10net completion bash)"
    complete -p cifar10net
    COMP_WORDS=(cifar10net serve --log-f) COMP_CWORD=2
    _cifar10net_completion cifar10net
    printf '%s\\n' "${COMPREPLY[@]}"
    """

    done = subprocess.run(
        [_real("bash"), "--norc", "-c", script], env=_variables(), capture_output=True, text=True, check=True
    )

    registered, *offered = done.stdout.splitlines()
    assert registered == "complete -o nosort -F _cifar10net_completion cifar10net"
    assert offered == ["--log-format"]


def test_a_real_zsh_takes_the_script() -> None:
    script = (
        'autoload -U compinit && compinit -D && eval "$(cifar10net completion zsh)"; echo $_comps[cifar10net]'
    )

    done = subprocess.run(
        [_real("zsh"), "-f", "-c", script], env=_variables(), capture_output=True, text=True, check=True
    )

    assert done.stdout == "_cifar10net_completion\n"


def test_a_real_fish_completes(tmp_path: Path) -> None:
    script = "cifar10net completion fish | source; complete -C 'cifar10net serve --log-f'"

    done = subprocess.run(
        [_real("fish"), "--no-config", "-c", script],
        env=_variables(HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split()[0] == "--log-format"
