"""``cifar10net doctor``: prints the findings of ``service.doctor``; needs only what the client needs."""

from __future__ import annotations

import sys
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cifar10net.config import Access, ClientConfig
from service.commands.options import access_options, deadline_option
from service.commands.presentation import echo_object, examples, json_option
from service.runtime.providers import PROVIDERS, ProviderConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.doctor.finding import Finding

_FAILED = 1
_COLOURS = {"ok": "green", "absent": "bright_black", "note": "yellow", "bad": "red"}


@click.command(
    epilog=examples(
        "cifar10net doctor",
        "cifar10net doctor --provider cpu --models exported_models",
        "cifar10net doctor --server 127.0.0.1:50051 --json",
        "cifar10net doctor --server example.org:50051 --tls-ca ca.pem --api-key-file alice.key",
    )
)
@click.option("--server", metavar="HOST:PORT", help="Check this server too. Default: none.")
@access_options
@deadline_option(5.0)
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    help="Verify the models of this repository too: digest, signature, golden answers. Default: none.",
)
@click.option(
    "--provider",
    type=click.Choice(list(PROVIDERS)),
    help="Execution provider that must be usable, and that runs --models. Default: none has to be usable; "
    "cpu runs --models.",
)
@json_option("Print one JSON object: whether all is well, and every finding.")
def doctor(  # noqa: PLR0913 - click passes each option by name
    *,
    server: str | None,
    access: Access,
    deadline_s: float,
    models: Path | None,
    provider: str | None,
    as_json: bool,
) -> None:
    """Check the installation, the machine, a server and models.

    Prints versions, usable execution providers (each runs a tiny model), CPU features and the limits of the
    control group; on request, whether a server answers and whether models verify.

    Exit code 0: all is well; 1: something that was asked for is not.
    """
    config = ClientConfig(deadline_s=deadline_s, access=access)
    found = list(_examine(server, config, models, provider))
    is_well = all(each.state != "bad" for each in found)
    if as_json:
        echo_object({"is_well": is_well, "findings": [asdict(each) for each in found]})
    else:
        for line in _lines(found):
            click.echo(line)
    if not is_well:
        sys.exit(_FAILED)


def _examine(
    server: str | None, config: ClientConfig, models: Path | None, provider: str | None
) -> Iterator[Finding]:
    from service import doctor  # noqa: PLC0415 - needed by this command alone

    used = provider or ProviderConfig.name
    yield from doctor.installation()
    yield from doctor.providers(provider)
    yield from doctor.machine(used)
    if models is not None:
        yield from doctor.models(models, used)
    if server is not None:
        yield from doctor.server(server, config)


def _lines(found: list[Finding]) -> Iterator[str]:
    """Format findings by section, one a line, with advice below those that need it."""
    width = max(len(each.name) for each in found)
    for section, those in groupby(found, lambda each: each.section):
        yield click.style(section, bold=True)
        for each in those:
            mark = click.style(f"{each.state:<6}", fg=_COLOURS[each.state])
            yield f"  {mark}  {each.name:<{width}}  {each.value}".rstrip()
            if each.state in {"note", "bad"}:
                yield f"  {'':6}  {'':{width}}  {each.advice}"
    bad = [each.name for each in found if each.state == "bad"]
    yield f"not well: {', '.join(bad)}" if bad else "all is well"
