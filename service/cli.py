"""``cifar10net``: the group of its commands; reads flags, then environment, then defaults.

What a command needs is imported by the command alone: the supervisor of a server stays small.
"""

from __future__ import annotations

import sys
from importlib.metadata import version

import click

from cifar10net.errors import ClientError, ConfigError
from service.commands.classify import classify
from service.commands.completion import completion
from service.commands.doctor import doctor
from service.commands.key import key
from service.commands.presentation import examples, name_variables, wants_colours
from service.commands.queries import health, models
from service.commands.serve import serve
from service.commands.stats import stats
from service.commands.web import web
from service.errors import JobError, StartupError

_NAME = "cifar10net"
_FAILED = 1
_COULD_NOT_RUN = 2
_INTERRUPTED = 130


@click.group(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
    },
    epilog=examples(
        "cifar10net serve --models exported_models",
        "cifar10net classify photo.jpg",
        "cifar10net classify photos/ --model exported_models/cifar10net --out rows.csv",
        "cifar10net serve --help",
    ),
)
@click.version_option(version(_NAME), prog_name=_NAME)
@click.pass_context
def cli(context: click.Context) -> None:
    """Serve image classifiers by gRPC, and classify by them.

    Every option can be set by an environment variable, which its help names; the command line comes first.
    Errors are one sentence on standard error. Exit code 0: all is well; 1: not all; 2: it could not be done.
    Colours are for terminals alone, and for none where NO_COLOR is set.
    """
    if not wants_colours():
        context.color = False


def main() -> None:
    """Run the command line; exit 1 if the server cannot start, 2 for what could not be asked or set."""
    try:
        sys.exit(cli(prog_name=_NAME, standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(_COULD_NOT_RUN)
    except click.ClickException as error:
        _fail(_sentence(error), error.exit_code)
    except click.Abort:
        _fail("interrupted", _INTERRUPTED)
    except (ConfigError, ClientError, JobError) as error:
        _fail(str(error), _COULD_NOT_RUN)
    except ModuleNotFoundError as error:
        _fail(
            f"this needs the package {error.name}; install cifar10net with an extra: "
            "server, cpu, gpu, openvino, batch, web, ray, otel or train",
            _COULD_NOT_RUN,
        )
    except StartupError as error:
        _fail(str(error), _FAILED)


def _fail(sentence: str, code: int) -> None:
    click.echo(f"error: {sentence}", err=True)
    sys.exit(code)


def _sentence(error: click.ClickException) -> str:
    """Say in one line what is wrong with the command line, and where help is."""
    said = " ".join(error.format_message().split())
    context = error.ctx if isinstance(error, click.UsageError) else None
    return said if context is None else f"{said.rstrip('.')}; see {context.command_path} --help"


for command in (serve, classify, web, models, stats, health, doctor, key, completion):
    name_variables(command, f"CIFAR10NET_{str(command.name).upper()}")
    cli.add_command(command)


if __name__ == "__main__":
    main()
