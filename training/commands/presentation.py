"""Shared parts of every command: examples and variables in its help, JSON output, the console, completion.

Repeats parts of ``service.commands.presentation``, which must not be imported here.
"""

from __future__ import annotations

import json
import os
from typing import Any

import click
from click.shell_completion import get_completion_class
from rich.console import Console

SHELLS = ("bash", "zsh", "fish")

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object for programs.")


def examples(*lines: str) -> str:
    """Make the epilog of a command's help, one example a line."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


def name_variables(command: click.Command, prefix: str) -> None:
    """Name the environment variable of each option of a command and its subcommands; the help shows it."""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            name = parameter.opts[0].removeprefix("--").replace("-", "_").upper()
            parameter.envvar = parameter.envvar or f"{prefix}_{name}"
            parameter.show_envvar = True
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            name_variables(each, f"{prefix}_{name.upper()}")


def echo_object(value: object) -> None:
    """Print a JSON object on one line."""
    click.echo(json.dumps(value, ensure_ascii=False))


def console(**settings: Any) -> Console:  # noqa: ANN401 - passed to Console
    """Make the console for tables and progress; without colour if NO_COLOR is set (https://no-color.org)."""
    return Console(
        highlight=False,
        markup=False,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        **settings,
    )


@click.command(
    epilog=examples(
        """echo 'eval "$(cifar10net-train completion bash)"' >> ~/.bashrc""",
        """echo 'eval "$(cifar10net-train completion zsh)"' >> ~/.zshrc   # after compinit""",
        "cifar10net-train completion fish > ~/.config/fish/completions/cifar10net-train.fish",
    )
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, /, *, shell: str) -> None:
    """Print the completion script of SHELL.

    It completes commands, options, choices and files in shells that read it when they start, as below. Each
    completion takes as long as importing PyTorch does.
    """
    root = context.find_root()
    name = str(root.info_name)
    variable = f"_{name}_COMPLETE".replace("-", "_").upper()
    click.echo(get_completion_class(shell)(root.command, {}, name, variable).source())  # type: ignore[misc]
