"""``cifar10net``: the command line; an option comes from its flag, else its variable, else its default.

Each command imports what only it needs, so that the supervisor of a server stays small.
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
    """Serve image classifiers over gRPC, and classify with them.

    Every option can also be set by an environment variable, which its help names; the command line wins.
    Errors are one sentence on standard error. Exit code 0: all is well; 1: not all is well; 2: the command
    could not run. Colours are for terminals, and turned off by NO_COLOR.
    """
    if not wants_colours():
        context.color = False


def main() -> None:
    """Run the command line; exit with 1 if a server cannot start, with 2 if a command cannot run."""
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
    """Return in one line what is wrong with the command line, and how to get help."""
    message = " ".join(error.format_message().split())
    context = error.ctx if isinstance(error, click.UsageError) else None
    return message if context is None else f"{message.rstrip('.')}; see {context.command_path} --help"


for command in (serve, classify, web, models, stats, health, doctor, key, completion):
    name_variables(command, f"CIFAR10NET_{str(command.name).upper()}")
    cli.add_command(command)


if __name__ == "__main__":
    main()
