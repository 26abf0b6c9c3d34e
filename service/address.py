"""Addresses of servers as people write them: checked before anything is sent there."""

from __future__ import annotations

import re

from service.errors import ConfigError

_FORM = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\[\]:/\s]+):(?P<port>\d{1,5})")
_LOOPBACK = re.compile(r"localhost|127\.[\d.]+|\[::1\]")


def channel_options(server: str) -> list[tuple[str, int]]:
    """Check ``host:port`` and return what every channel to it needs.

    A loopback server is never asked through the proxy that ``http_proxy`` may name.

    Raises:
        ConfigError: it is no ``host:port`` with a port from 1 to 65535.
    """
    match = _FORM.fullmatch(server)
    if match is None or not 1 <= int(match["port"]) <= 65_535:  # noqa: PLR2004 - the largest port
        raise ConfigError(f"server is {server!r}, wanted HOST:PORT such as 127.0.0.1:50051 or [::1]:50051")
    return [("grpc.enable_http_proxy", 0)] if is_loopback(server) else []


def is_loopback(server: str) -> bool:
    """Whether ``host:port`` is on this machine."""
    return _LOOPBACK.fullmatch(server.rpartition(":")[0]) is not None
