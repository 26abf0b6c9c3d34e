"""Addresses of servers as people write them: checked before anything is sent there."""

from __future__ import annotations

import ipaddress
import re

from cifar10net.errors import ConfigError

_FORM = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\[\]:/\s]+):(?P<port>\d{1,5})")
_LOOPBACK = re.compile(r"localhost|127\.[\d.]+|\[::1\]")


def channel_options(server: str) -> list[tuple[str, int]]:
    """Check ``host:port``, or several, and return what every channel to it needs.

    A loopback server is never asked through the proxy that ``http_proxy`` may name.

    Raises:
        ConfigError: it is no ``host:port`` with a port from 1 to 65535, or a list of which some part is not
            an IP address.
    """
    target(server)
    return [("grpc.enable_http_proxy", 0)] if is_loopback(server) else []


def is_loopback(server: str) -> bool:
    """Whether ``host:port``, or each of several, is on this machine."""
    return all(_LOOPBACK.fullmatch(each.rpartition(":")[0]) is not None for each in server.split(","))


def target(server: str) -> str:
    """Write an address, or several with commas between them, as gRPC wants it.

    Raises:
        ConfigError: as ``channel_options``.
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
    match = _FORM.fullmatch(server)
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
