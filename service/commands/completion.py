"""``cifar10net completion``: prints the script that completes commands and options in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from service.commands.presentation import examples

SHELLS = ("bash", "zsh", "fish")


@click.command(
    epilog=examples(
        """echo 'eval "$(cifar10net completion bash)"' >> ~/.bashrc""",
        """echo 'eval "$(cifar10net completion zsh)"' >> ~/.zshrc   # after compinit""",
        "cifar10net completion fish > ~/.config/fish/completions/cifar10net.fish",
    )
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, /, *, shell: str) -> None:
    """Print the completion script of SHELL.

    It completes commands, options, choices and files. Load it when SHELL starts, as below. Bash has to be 4.4
    or newer.
    """
    root = context.find_root()
    name = str(root.info_name)
    variable = f"_{name}_COMPLETE".replace("-", "_").upper()
    click.echo(get_completion_class(shell)(root.command, {}, name, variable).source())  # type: ignore[misc]
