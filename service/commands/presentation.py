"""How every command speaks: examples and variables in its help, colours, objects for programs.

In: a command, or what it has found. Out: what click and rich make of it. Knows no command.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console


def examples(*lines: str) -> str:
    """Make the end of a command's help, an example a line."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


def name_variables(command: click.Command, prefix: str) -> None:
    """Let the environment set each option of a command by its name, as its help says then."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            name = parameter.opts[0].removeprefix("--").replace("-", "_").upper()
            parameter.envvar = f"{prefix}_{name}"
            parameter.show_envvar = True


def json_option(text: str) -> Callable[[Any], Any]:
    """Make the option ``--json`` of a command, which gets it as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def echo_object(told: object) -> None:
    """Print a JSON object in a line of its own."""
    click.echo(json.dumps(told, ensure_ascii=False))


def wants_colours() -> bool:
    """Whether colours may be used where there is a terminal: https://no-color.org."""
    return not os.environ.get("NO_COLOR")


def console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Make what prints tables; plain unless on a terminal, and there too if NO_COLOR is set."""
    from rich.console import Console  # noqa: PLC0415 - the client lives without it

    return Console(
        stderr=stderr,
        soft_wrap=soft_wrap,
        highlight=False,
        markup=False,
        color_system="auto" if wants_colours() else None,
    )


def complete_files(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Let the shell offer files for what is a name of something else as well."""
    return [CompletionItem(begun, type="file")]
