"""``cifar10net``: the group of its commands; reads flags, then environment, then defaults.

What a command needs is imported by the command alone: the supervisor of a server stays small.
"""

from __future__ import annotations

import sys
from importlib.metadata import version

import click

from service.commands.asking import health, models
from service.commands.classifying import classify
from service.commands.key import key
from service.commands.serve import serve
from service.commands.stats import stats
from service.errors import ClientError, ConfigError, JobError, StartupError

_FAILED = 1
_COULD_NOT_RUN = 2


@click.group(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "auto_envvar_prefix": "CIFAR10NET",
    }
)
@click.version_option(version("cifar10net"))
def cli() -> None:
    """Serve image classifiers over gRPC, and ask such a server.

    Every option can be set by an environment variable, such as CIFAR10NET_SERVE_PORT.
    """


def main() -> None:
    """Run the command line; exit 1 if the server cannot start, 2 for what could not be asked or set."""
    try:
        cli()
    except (ConfigError, ClientError, JobError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(_COULD_NOT_RUN)
    except ModuleNotFoundError as error:
        click.echo(
            f"error: this needs the package {error.name}; install cifar10net with an extra: "
            "server, cpu, gpu, openvino, batch, ray, otel or train",
            err=True,
        )
        sys.exit(_COULD_NOT_RUN)
    except StartupError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(_FAILED)


for command in (serve, classify, models, stats, health, key):
    cli.add_command(command)


if __name__ == "__main__":
    main()
