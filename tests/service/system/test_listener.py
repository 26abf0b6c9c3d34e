"""A socket listens on all addresses of a host, or the error is one sentence."""

from __future__ import annotations

import socket

import pytest

from service.errors import AddressError
from service.system.listener import format_address, listen


def test_all_addresses_of_ipv6_are_those_of_ipv4_too() -> None:
    with listen("::", 0) as listening:
        port = listening.getsockname()[1]

        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=60).close()


def test_a_port_whose_connections_are_still_closing_is_free() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=60):
            first.accept()[0].close()  # closed here first, so its end is waited for here

    listen("127.0.0.1", port).close()


def test_a_port_is_listened_on_once() -> None:
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]

        with pytest.raises(AddressError, match=f"127.0.0.1:{port}: Address already in use; choose another"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("256.0.0.1", "cannot listen on 256.0.0.1:0: "),
        ("a..b", "cannot listen on a..b:0: it is not a host name"),
        ("192.0.2.1", "192.0.2.1:0: Cannot assign requested address"),
        ("2001:db8::1", r"cannot listen on \[2001:db8::1\]:0: "),
    ],
)
def test_an_address_that_is_not_ours_is_refused(host: str, message: str) -> None:
    with pytest.raises(AddressError, match=message):
        listen(host, 0)


def test_an_address_is_written_as_people_write_it() -> None:
    assert format_address("127.0.0.1", 50051) == "127.0.0.1:50051"
    assert format_address("::1", 50051) == "[::1]:50051"
