"""Scripted servers, and both clients behind one interface."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from cifar10net import AsyncClient, Client, ClientConfig
from tests.cifar10net.scripted import Script, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cifar10net import ImageResult

    Ask = Callable[..., list[ImageResult]]


@pytest.fixture
def scripted() -> Iterator[Callable[[], ScriptedServer]]:
    """Return a function that starts a server with a script."""
    servers: list[ScriptedServer] = []

    def start(script: Script | None = None, address: str = "127.0.0.1:0") -> ScriptedServer:
        servers.append(ScriptedServer(script, address))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def _blocking(
    server: str,
    images: Any,
    config: ClientConfig | None = None,
    *,
    results: list[ImageResult] | None = None,
    **options: Any,
) -> list[ImageResult]:
    results = [] if results is None else results
    with Client(server, config) as client:
        for result in client.classify_stream(images, **options):
            results.append(result)
    return results


def _asynchronous(
    server: str,
    images: Any,
    config: ClientConfig | None = None,
    *,
    results: list[ImageResult] | None = None,
    **options: Any,
) -> list[ImageResult]:
    taken = [] if results is None else results

    async def main() -> None:
        async with (
            AsyncClient(server, config) as client,
            contextlib.aclosing(client.classify_stream(images, **options)) as stream,
        ):
            async for result in stream:
                taken.append(result)

    asyncio.run(main())
    return taken


@pytest.fixture(params=[_blocking, _asynchronous], ids=["Client", "AsyncClient"])
def stream(request: pytest.FixtureRequest) -> Ask:
    """Return a function that classifies on a stream; ``results`` collects the results before an error."""
    asked: Ask = request.param
    return asked
