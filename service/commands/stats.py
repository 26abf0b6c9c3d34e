"""``cifar10net stats``: prints the statistics of a running server, as tables or as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cifar10net.config import Access, ClientConfig
from service.commands.options import access_options, deadline_option, server_option
from service.commands.presentation import console, echo_object, examples, json_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.table import Table

    from cifar10net.statistics import ServerStatistics, VersionStatistics

_COUNTS = ("images", "bad", "requests", "refused", "batches", "per batch")
_TIMES = ("decode ms", "queue ms", "wait ms", "compute ms", "total ms")


@click.command(
    epilog=examples(
        "cifar10net stats",
        "cifar10net stats --server 127.0.0.1:50051 --json",
        "cifar10net stats --server example.org:50051 --tls-ca ca.pem --api-key-file alice.key",
    )
)
@server_option
@access_options
@deadline_option()
@json_option("Print one JSON object with all statistics.")
def stats(*, server: str, access: Access, deadline_s: float, as_json: bool) -> None:
    """Print what a server has done since it started.

    By model and version, summed over all of its processes, including those that have ended. Times are means
    in milliseconds: decoding pictures, waiting in the queue, waiting for the batch to run, computing, and the
    total of answered requests.
    """
    from cifar10net import Client  # noqa: PLC0415 - needed when it runs alone

    with Client(server, ClientConfig(deadline_s=deadline_s, access=access)) as client:
        found = client.statistics()
    if as_json:
        echo_object(asdict(found))
    else:
        _print(found)


def _print(found: ServerStatistics) -> None:
    screen = console()
    screen.print(_table(_COUNTS, found.versions, _counts))
    screen.print(_table(_TIMES, found.versions, _times))
    screen.print(
        f"{found.workers} workers ({found.worker_restarts} restarts), {found.connections} connections, "
        f"{found.active_calls} calls in progress, {found.admitted_images} images admitted"
    )
    for refusal in found.refusals:
        screen.print(f"{refusal.event}, {refusal.reason}: {refusal.count}")


def _table(
    titles: Sequence[str],
    versions: Iterable[VersionStatistics],
    row: Callable[[VersionStatistics], Sequence[str]],
) -> Table:
    from rich import box  # noqa: PLC0415 - needed here alone
    from rich.table import Table  # noqa: PLC0415

    table = Table("model", "version", box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="right")
    for version in versions:
        table.add_row(version.model or "-", version.version or "-", *row(version))
    return table


def _counts(version: VersionStatistics) -> list[str]:
    return [
        str(sum(version.images.values())),
        str(version.images.get("bad_image", 0)),
        str(sum(version.requests.values())),
        str(version.refused),
        str(version.batches),
        "-" if version.mean_batch is None else f"{version.mean_batch:.1f}",
    ]


def _times(version: VersionStatistics) -> list[str]:
    parts = (version.decode, version.queue, version.batch_wait, version.compute, version.total)
    return ["-" if part.mean_ms is None else f"{part.mean_ms:.3f}" for part in parts]
