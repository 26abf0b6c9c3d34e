"""How every command speaks: examples and variables in its help, colours, objects for programs.

As ``service.commands.presentation``, which this program must not import.
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
    """Make the end of a command's help, an example a line."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


def name_variables(command: click.Command, prefix: str) -> None:
    """Let the environment set each option of a command, and of those below it, as the help says then."""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            name = parameter.opts[0].removeprefix("--").replace("-", "_").upper()
            parameter.envvar = parameter.envvar or f"{prefix}_{name}"
            parameter.show_envvar = True
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            name_variables(each, f"{prefix}_{name.upper()}")


def echo_object(told: object) -> None:
    """Print a JSON object in a line of its own."""
    click.echo(json.dumps(told, ensure_ascii=False))


def console(**settings: Any) -> Console:  # noqa: ANN401 - as of Console
    """Make what prints tables and progress; plain where NO_COLOR is set (https://no-color.org)."""
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
    """Print what makes SHELL complete our commands.

    Commands, options, choices and files are completed from the next shell on, if SHELL reads the script when
    it starts, as below. Each answer takes as long as importing PyTorch does.
    """
    root = context.find_root()
    name = str(root.info_name)
    variable = f"_{name}_COMPLETE".replace("-", "_").upper()
    click.echo(get_completion_class(shell)(root.command, {}, name, variable).source())  # type: ignore[misc]
