"""``cifar10net-train``: its commands, with errors told in one sentence."""

from __future__ import annotations

import sys
from importlib.metadata import version

import click

from training.commands.compare import compare
from training.commands.demo import demo
from training.commands.evaluate import evaluate_model
from training.commands.export import export_model, write_manifest
from training.commands.fit import fit
from training.commands.quantize import quantize
from training.commands.summary import summary
from training.commands.visualize import visualize
from training.errors import Interrupted, TrainingError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(version("cifar10net"))
def cli() -> None:
    """Train, evaluate and export networks for CIFAR-10."""


def main() -> None:
    """Run the command line; exit 1 for a failure, 2 for wrong usage, 130 when interrupted."""
    try:
        cli()
    except Interrupted as stopped:
        click.echo(str(stopped), err=True)
        sys.exit(stopped.exit_code)
    except TrainingError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


for _command in (
    fit,
    evaluate_model,
    export_model,
    write_manifest,
    quantize,
    summary,
    compare,
    demo,
    visualize,
):
    cli.add_command(_command)

if __name__ == "__main__":
    main()
