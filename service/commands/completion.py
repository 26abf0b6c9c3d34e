"""``cifar10net completion``: what makes a shell complete our commands and options."""

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
    """Print what makes SHELL complete our commands.

    Commands, options, choices and files are completed from the next shell on, if SHELL reads the script when
    it starts, as below. Bash has to be 4.4 or newer.
    """
    root = context.find_root()
    name = str(root.info_name)
    variable = f"_{name}_COMPLETE".replace("-", "_").upper()
    click.echo(get_completion_class(shell)(root.command, {}, name, variable).source())  # type: ignore[misc]
