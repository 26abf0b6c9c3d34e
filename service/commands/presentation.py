"""What all commands share: examples and variables in their help, colours, JSON for programs."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import Console

    from service.batch.engines.engine import ModelIdentity
    from service.batch.summary import JobSummary


def examples(*lines: str) -> str:
    """Format the examples at the end of a command's help."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


def name_variables(command: click.Command, prefix: str) -> None:
    """Give each option of a command an environment variable, ``PREFIX_NAME``, which its help names."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            name = parameter.opts[0].removeprefix("--").replace("-", "_").upper()
            parameter.envvar = f"{prefix}_{name}"
            parameter.show_envvar = True


def json_option(text: str) -> Callable[[Any], Any]:
    """Make the option ``--json``, which the command gets as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def echo_object(value: object) -> None:
    """Print a JSON object on one line."""
    click.echo(json.dumps(value, ensure_ascii=False))


def echo_lines(lines: Iterable[str]) -> None:
    """Print each line."""
    for line in lines:
        click.echo(line)


def echo_summary(summary: JobSummary, model: ModelIdentity, out: str, *, as_json: bool) -> None:
    """Print the summary of a batch job whose rows are in ``out``."""
    if as_json:
        echo_object(summary.as_dict(model, out))
    else:
        echo_lines(summary.lines(out))


def wants_colours() -> bool:
    """Whether a terminal gets colours: https://no-color.org."""
    return not os.environ.get("NO_COLOR")


def console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Make a rich console; plain unless it is a terminal and NO_COLOR is not set."""
    from rich.console import Console  # noqa: PLC0415 - a client may lack it

    return Console(
        stderr=stderr,
        soft_wrap=soft_wrap,
        highlight=False,
        markup=False,
        color_system="auto" if wants_colours() else None,
    )


def complete_files(
    _context: click.Context, _option: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete file names for an argument that is not always a file."""
    return [CompletionItem(incomplete, type="file")]
