"""The command line ``cifar10net-train``: its commands, error messages and exit codes."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

import click

from training.commands.compare import compare
from training.commands.demo import demo
from training.commands.evaluate import evaluate_model
from training.commands.export import export_model, write_layer_outputs, write_manifest
from training.commands.fit import fit
from training.commands.presentation import completion, examples, name_variables
from training.commands.quantize import quantize
from training.commands.summary import summary
from training.commands.visualize import visualize
from training.errors import Interrupted, TrainingError

_NAME = "cifar10net-train"
_INTERRUPTED = 130


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    epilog=examples(
        "cifar10net-train fit --out runs/first",
        "cifar10net-train export --run runs/first",
        "cifar10net-train evaluate --model runs/first",
        "cifar10net-train fit --help",
    ),
)
@click.version_option(version("cifar10net"), prog_name=_NAME)
def cli() -> None:
    """Train, evaluate and export networks for CIFAR-10.

    Every option can also be set by the environment variable that its help names; the command line takes
    precedence. Errors are one sentence on standard error. Exit codes: 0 success, 1 failure, 2 wrong usage,
    130 interrupted.
    """


def main() -> None:
    """Run the command line; exit 1 for a failure, 2 for wrong usage, 130 when interrupted."""
    # Read when ONNX Runtime is loaded; from 1.29 on, its builds for Linux report to Microsoft.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        sys.exit(cli(prog_name=_NAME, standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(f"error: {_sentence(error)}", err=True)
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("error: interrupted", err=True)
        sys.exit(_INTERRUPTED)
    except Interrupted as stopped:
        click.echo(str(stopped), err=True)
        sys.exit(stopped.exit_code)
    except TrainingError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


def _sentence(error: click.ClickException) -> str:
    """Return the error in one line, with the command that shows help."""
    message = " ".join(error.format_message().split())
    context = error.ctx if isinstance(error, click.UsageError) else None
    return message if context is None else f"{message.rstrip('.')}; see {context.command_path} --help"


for _command in (
    fit,
    evaluate_model,
    export_model,
    write_manifest,
    write_layer_outputs,
    quantize,
    summary,
    compare,
    demo,
    visualize,
    completion,
):
    name_variables(_command, f"CIFAR10NET_TRAIN_{str(_command.name).upper()}")
    cli.add_command(_command)

if __name__ == "__main__":
    main()
