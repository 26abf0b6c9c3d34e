"""``cifar10net web``: serves the page from this process."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cifar10net.addresses import target
from service.commands.options import (
    access_options,
    deadline_option,
    image_options,
    log_options,
    server_option,
    setting_options,
)
from service.commands.presentation import complete_files, echo_object, examples, json_option
from service.config import PAGE_PREFIX
from service.observability.logs import configure as configure_logs
from service.web.settings import WebConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.web.backend import Backend

_DEADLINE_S = 10.0
_PATH = click.Path(path_type=Path)


@click.command(
    epilog=examples(
        "cifar10net web",
        "cifar10net web --server 127.0.0.1:50051 --data cifar10.zip --runs runs",
        "cifar10net web --model exported_models",
        "cifar10net web --model exported_models/cifar10net --model exported_models/resnet --port 0 --json",
        "cifar10net web --host 0.0.0.0 --allow-host pictures.example.org",
    )
)
@server_option
@access_options
@click.option(
    "--model",
    "local",
    multiple=True,
    shell_complete=complete_files,
    help="Model file or folder, or a repository, to run in this process instead of asking a server. Can be "
    "repeated.",
)
@click.option(
    "--models",
    type=_PATH,
    default=Path("exported_models"),
    help="Repository whose inside.onnx files show the layers of the server's models.",
)
@setting_options(WebConfig, limits=image_options)
@deadline_option(_DEADLINE_S)
@log_options
@json_option("Print the URL and the process id as a JSON object.")
@click.pass_context
def web(context: click.Context, /, **options: Any) -> None:  # noqa: ANN401 - click passes each option by name
    """Serve a page for browsers until SIGTERM.

    The page classifies pictures, compares models, shows their layers, browses a test set and follows
    training runs. Its HTTP and JSON interface is described by /v1/openapi.json. It asks a running server or,
    with --model, runs models in this process.

    Exit code 0: it was stopped by a signal; 1: it could not start.
    """
    if options["local"] and context.get_parameter_source("server") is ParameterSource.COMMANDLINE:
        raise click.UsageError(
            "--model runs models in this process and --server asks a server: give one of the two"
        )
    from service.web.http_server import serve  # noqa: PLC0415 - needed by this command alone

    configure_logs(options.pop("log_format"), options.pop("log_level"))
    as_json, make_answers, models = options.pop("as_json"), *_answering(options)
    config = WebConfig(models=models, **options)

    def announce(url: str) -> None:
        if as_json:
            echo_object({"url": url, "pid": os.getpid()})
        else:
            click.echo(f"{PAGE_PREFIX}{url}")

    asyncio.run(serve(config, make_answers, announce))


def _answering(options: dict[str, Any]) -> tuple[Callable[[], Backend], tuple[Path, ...]]:
    """Pop the options of the backend; return what makes it, and the repositories with its layers."""
    server, access, deadline_s = options.pop("server"), options.pop("access"), options.pop("deadline_s")
    local, models = options.pop("local"), options.pop("models")
    if local:
        from service.web.local_backend import LocalBackend, repositories  # noqa: PLC0415

        return lambda: LocalBackend(local), repositories(local)
    from service.web.remote_backend import RemoteBackend  # noqa: PLC0415

    target(server)  # refuses now what is not an address
    return lambda: RemoteBackend(server, access, deadline_s), (models,)
