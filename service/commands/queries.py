"""``cifar10net models`` and ``cifar10net health``: ask a running server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from cifar10net.config import Access, ClientConfig
from service.commands.options import access_options, deadline_option, server_option
from service.commands.presentation import console, echo_object, examples, json_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cifar10net.messages import ModelDescription, VersionState

_FAILED = 1


@click.command(
    epilog=examples(
        "cifar10net models",
        "cifar10net models --server 127.0.0.1:50051 --json",
        "cifar10net models --server example.org:50051 --tls-ca ca.pem --api-key-file alice.key",
    )
)
@server_option
@access_options
@deadline_option()
@json_option("Print a JSON object per model, one a line.")
def models(*, server: str, access: Access, deadline_s: float, as_json: bool) -> None:
    """List a server's models.

    Also the versions in its repository that it does not serve, with the reason.
    """
    from cifar10net import Client  # noqa: PLC0415 - needed when it runs alone

    with Client(server, ClientConfig(deadline_s=deadline_s, access=access)) as client:
        found, versions = client.models(), client.versions()
    answering = {(model.name, model.version) for model in found}
    others = [each for each in versions if (each.name, each.version) not in answering]
    if as_json:
        states = {(each.name, each.version): vars(each) for each in versions}
        for model in found:
            state = states.get((model.name, model.version), {})
            echo_object({**vars(model), **state})
        for other in others:
            echo_object(vars(other))
    else:
        _print(found, versions, others)


def _print(
    found: Sequence[ModelDescription], versions: Sequence[VersionState], others: Sequence[VersionState]
) -> None:
    from rich import box  # noqa: PLC0415 - needed here alone
    from rich.table import Table  # noqa: PLC0415

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
    screen = console(soft_wrap=True)
    screen.print(table)
    for each in versions:
        if each.reason:
            screen.print(f"{each.name} {each.version}: {each.reason}")


@click.command(
    epilog=examples(
        "cifar10net health",
        "cifar10net health --server 127.0.0.1:50051 --service cifar10net --deadline-s 1",
        "until cifar10net health --deadline-s 1; do sleep 1; done   # wait for a server that starts",
    )
)
@server_option
@access_options
@click.option("--service", help="gRPC service or model to check. Default: the server as a whole.")
@deadline_option(5.0)
@json_option("Print a JSON object: server, service and status.")
def health(*, server: str, access: Access, service: str | None, deadline_s: float, as_json: bool) -> None:
    """Print a server's health.

    SERVING, NOT_SERVING, or the gRPC status of a check that failed. Exit code 0: SERVING; 1: anything else.
    """
    from service.server.health_check import check_health  # noqa: PLC0415 - needed by this command alone

    config = ClientConfig(deadline_s=deadline_s, access=access)
    status = check_health(server, config.deadline_s, service or "", config.access)
    if as_json:
        echo_object({"server": server, "service": service, "status": status})
    else:
        click.echo(status)
    if status != "SERVING":
        sys.exit(_FAILED)
