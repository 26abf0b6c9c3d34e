"""Server addresses: ``host:port``, or several with commas between them."""

from __future__ import annotations

import ipaddress
import re

from cifar10net.errors import ConfigError

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\[\]:/\s]+):(?P<port>\d{1,5})")
_LOOPBACK = re.compile(r"localhost|127\.[\d.]+|\[::1\]")


def is_loopback(server: str) -> bool:
    """Whether every address is on this machine."""
    return all(_LOOPBACK.fullmatch(each.rpartition(":")[0]) is not None for each in server.split(","))


def target(server: str) -> str:
    """Return the addresses as a gRPC target.

    Raises:
        ConfigError: an address is not ``host:port`` with a port from 1 to 65535, or one of several is not an
            IP address of the same family as the others.
    """
    hosts = [_host(each) for each in server.split(",")]
    if len(hosts) == 1:
        return server
    families = {_family(host) for host in hosts}
    if len(families) != 1 or None in families:
        raise ConfigError(
            f"server is {server!r}, wanted one HOST:PORT, or several that are all IPv4 or all IPv6; "
            "a host name may stand for several addresses in DNS"
        )
    return f"{families.pop()}:{server}"


def _host(server: str) -> str:
    match = _ADDRESS.fullmatch(server)
    if match is None or not 1 <= int(match["port"]) <= 65_535:  # noqa: PLR2004 - the largest port
        raise ConfigError(f"server is {server!r}, wanted HOST:PORT such as 127.0.0.1:50051 or [::1]:50051")
    return match["host"]


def _family(host: str) -> str | None:
    if host.startswith("["):
        return "ipv6"
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return None
    return "ipv4"
