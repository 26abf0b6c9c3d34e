"""``cifar10net doctor``: says whether everything is well, and what to do where it is not.

In: what click has read. Out: a table or an object on standard output, an exit code. Needs no more than the
client does. What is looked at, ``service.doctor`` knows.
"""

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
@click.option("--server", metavar="HOST:PORT", help="Ask this server too. Default: none.")
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
    help="Execution provider that has to be usable, and that --models are run by. Default: whichever are "
    "usable are told; cpu for --models.",
)
@json_option("One JSON object: whether all is well, and everything that was found.")
def doctor(  # noqa: PLR0913 - click passes each option by name
    *,
    server: str | None,
    access: Access,
    deadline_s: float,
    models: Path | None,
    provider: str | None,
    as_json: bool,
) -> None:
    """Say what is installed and usable, and what is not well.

    Versions, execution providers (each is tried with a tiny model), CPU features, and what the control group
    grants; if asked for, whether a server answers and whether models verify.

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
    """Write a line a finding, by sections, and below it what to do where it is not well."""
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
