"""A host name with several addresses in DNS: calls rotate between all of them.

gRPC queries a DNS server of the test, which a target may name: ``dns://SERVER/NAME:PORT``.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

import cifar10net.channel
from cifar10net import AsyncClient, Client
from tests.cifar10net.nameserver import NameServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cifar10net.scripted import ScriptedServer

    Start = Callable[..., ScriptedServer]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 for loopback"
)
NAME = "classifier.test"
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
ONE = np.zeros((1, 32, 32, 3), np.uint8)


@pytest.fixture
def nameserver(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    """Have gRPC query a DNS server with three addresses, and no proxy."""
    for variable in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with NameServer(HOSTS) as server:
        monkeypatch.setattr(cifar10net.channel, "target", lambda name: f"dns://{server.address}/{name}")
        yield server


@pytest.fixture
def servers(scripted: Start) -> list[ScriptedServer]:
    """Start a server at each address, on one port."""
    first = scripted(address=f"{HOSTS[0]}:0")
    port = first.address.rpartition(":")[2]
    return [first, *(scripted(address=f"{host}:{port}") for host in HOSTS[1:])]


def _have_all(servers: list[ScriptedServer]) -> bool:
    return all(len(server.script.requests) > 3 for server in servers)


def _name(servers: list[ScriptedServer]) -> str:
    return f"{NAME}:{servers[0].address.rpartition(':')[2]}"


def test_calls_take_turns_between_the_addresses_of_a_name(
    nameserver: NameServer, servers: list[ScriptedServer]
) -> None:
    with Client(_name(servers)) as client:
        while not _have_all(servers):  # else it never ends
            client.classify(ONE)

    assert NAME in nameserver.names


@pytest.mark.usefixtures("nameserver")
def test_asyncio_calls_take_turns_between_the_addresses_of_a_name(servers: list[ScriptedServer]) -> None:
    async def ask() -> None:
        async with AsyncClient(_name(servers)) as client:
            while not _have_all(servers):
                await client.classify(ONE)

    asyncio.run(ask())


@pytest.mark.usefixtures("nameserver")
def test_an_address_of_a_name_that_is_gone_costs_no_call(servers: list[ScriptedServer]) -> None:
    with Client(_name(servers)) as client:
        while not _have_all(servers):
            client.classify(ONE)
        servers[1].stop()

        results = [client.classify(ONE)[0] for _ in range(20)]

    assert all(result.error is None for result in results)
