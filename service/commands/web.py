"""``cifar10net web``: the page, in this process.

In: what click has read. Out: the page's URL on standard output, its log on standard error.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import click

from service.commands.options import access_options, deadline_option, server_option
from service.commands.voice import echo_object, examples, json_option
from service.logs import configure as configure_logs

if TYPE_CHECKING:
    from service.config import Access
    from service.web.answers import Answers

PAGE_PREFIX = "page on "
"""What is printed on standard output, before the page's URL, once it answers."""
_DEADLINE_S = 10.0


@click.command(
    epilog=examples(
        "cifar10net web",
        "cifar10net web --server 127.0.0.1:50051 --port 8000",
    )
)
@server_option
@access_options
@click.option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 or :: for all.")
@click.option("--port", type=int, default=8000, help="0 lets the system choose.")
@deadline_option(_DEADLINE_S)
@json_option("The line on standard output as a JSON object: URL and process id.")
def web(  # noqa: PLR0913 - click passes each option by name
    *, server: str, access: Access, host: str, port: int, deadline_s: float, as_json: bool
) -> None:
    """Show the service in a browser, until SIGTERM."""
    from service.web.asking import ServerAnswers  # noqa: PLC0415 - needed by this command alone
    from service.web.serving import serve  # noqa: PLC0415
    from service.web.settings import WebConfig  # noqa: PLC0415

    configure_logs("auto", "info")
    config = WebConfig(host=host, port=port)

    def announce(url: str) -> None:
        if as_json:
            echo_object({"url": url, "pid": os.getpid()})
        else:
            click.echo(f"{PAGE_PREFIX}{url}")

    def make_answers() -> Answers:
        return ServerAnswers(server, access, deadline_s)

    asyncio.run(serve(config, make_answers, announce))
