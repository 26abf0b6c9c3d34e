"""``cifar10net models`` and ``health``: what a running server can be asked for.

In: what click has read. Out: lines on standard output, what went wrong on standard error, an exit code.
"""

from __future__ import annotations

import json
import sys

import click

from service.commands.options import (
    access_options,
    deadline_option,
    server_option,
)
from service.config import Access, ClientConfig

_FAILED = 1


@click.command()
@server_option
@access_options
@deadline_option
@click.option(
    "--json",
    "as_json",
    envvar="CIFAR10NET_MODELS_JSON",
    is_flag=True,
    help="A JSON object a model, one a line.",
)
def models(*, server: str, access: Access, deadline_s: float, as_json: bool) -> None:
    """List the models that a server answers for, and the versions in its repository that do not answer."""
    from rich import box  # noqa: PLC0415 - needed by this command alone
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from service.client import Client  # noqa: PLC0415

    with Client(server, ClientConfig(deadline_s=deadline_s, access=access)) as client:
        found, versions = client.models(), client.versions()
    answering = {(model.name, model.version) for model in found}
    others = [each for each in versions if (each.name, each.version) not in answering]
    if as_json:
        states = {(each.name, each.version): vars(each) for each in versions}
        for model in found:
            state = states.get((model.name, model.version), {})
            click.echo(json.dumps({**vars(model), **state}, ensure_ascii=False))
        for other in others:
            click.echo(json.dumps(vars(other), ensure_ascii=False))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("model", "version", "default", "provider", "classes", "top-1", "top-3", "state"):
        table.add_column(title)
    for model in found:
        table.add_row(
            model.name,
            model.version,
            "yes" if model.is_default else "",
            model.provider.removesuffix("ExecutionProvider"),
            str(len(model.labels)),
            model.metadata.get("accuracy_top1", "?"),
            model.metadata.get("accuracy_top3", "?"),
            "READY",
        )
    for other in others:
        table.add_row(other.name, other.version, "", "", "", "", "", other.state)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(table)
    for each in versions:
        if each.reason:
            console.print(f"{each.name} {each.version}: {each.reason}")


@click.command()
@server_option
@access_options
@click.option("--service", default="", help="gRPC service to ask about; default: the server.")
@click.option(
    "--timeout-s",
    type=click.FloatRange(0, 3600, min_open=True),
    default=5.0,
    help="Seconds to wait for an answer.",
)
def health(*, server: str, access: Access, service: str, timeout_s: float) -> None:
    """Print a server's health; exit code 0 only for SERVING."""
    from service.process import check_health  # noqa: PLC0415 - needed by this command alone

    status = check_health(server, timeout_s, service, access)
    click.echo(status)
    if status != "SERVING":
        sys.exit(_FAILED)
