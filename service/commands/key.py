"""``cifar10net key``: makes API keys."""

from __future__ import annotations

from pathlib import Path

import click

from service.commands.presentation import echo_object, examples, json_option


@click.command(
    epilog=examples(
        "cifar10net key alice --to keys.txt > alice.key",
        "cifar10net key bob --rights cifar10net.v1.Classifier --until 2035-12-31 --json",
    )
)
@click.argument("name")
@click.option(
    "--rights",
    default="*",
    metavar="PATTERN,...",
    help="Services, or package.Service/Method, that the key may call; * matches anything.",
)
@click.option(
    "--until", metavar="TIME", help="When the key expires: date or time, ISO 8601, UTC. Default: never."
)
@click.option(
    "--to",
    "path",
    type=click.Path(path_type=Path),
    help="File of keys to append the line to; then only the key is printed.",
)
@json_option("Print a JSON object: name, key and line.")
def key(*, name: str, rights: str, until: str | None, path: Path | None, as_json: bool) -> None:
    """Make an API key for NAME.

    Also prints the line for the file of `cifar10net serve --api-keys`. The key is shown only this once: the
    file has its hash.
    """
    from service.security.api_keys import add_line, make_key  # noqa: PLC0415 - needed by this command alone

    made, line = make_key(name, rights, until)
    if path is not None:
        add_line(path, line)
    if as_json:
        echo_object({"name": name, "key": made, "line": line})
    elif path is not None:
        click.echo(made)
    else:
        click.echo(f"key, for {name}:\n  {made}\nline, for the file of keys:\n  {line}")
