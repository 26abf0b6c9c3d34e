"""gRPC channels to a server, with or without TLS, and the metadata that carries the API key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import grpc

from cifar10net.addresses import is_loopback, target
from cifar10net.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cifar10net.config import Access

    ChannelOptions = Sequence[tuple[str, str | int]]


def open_channel(server: str, access: Access, options: ChannelOptions = ()) -> grpc.Channel:
    """Create a channel; it connects on its first call. A proxy is never used for loopback addresses.

    Raises:
        ConfigError: ``server`` is not ``host:port``, or a TLS file cannot be read.
    """
    return cast("grpc.Channel", _open(grpc, server, access, options))


def open_aio_channel(server: str, access: Access, options: ChannelOptions = ()) -> grpc.aio.Channel:
    """Create a channel for asyncio; otherwise as ``open_channel``."""
    return cast("grpc.aio.Channel", _open(grpc.aio, server, access, options))


def access_metadata(access: Access) -> tuple[tuple[str, str], ...]:
    """Return the metadata that every call sends."""
    return () if access.api_key is None else (("authorization", f"Bearer {access.api_key}"),)


def _open(module: Any, server: str, access: Access, options: ChannelOptions) -> Any:  # noqa: ANN401
    name = target(server)
    if is_loopback(server):
        options = [("grpc.enable_http_proxy", 0), *options]
    if not access.uses_tls:
        return module.insecure_channel(name, options=options)
    ca, key, cert = (None if path is None else _read(path) for path in (access.ca, access.key, access.cert))
    return module.secure_channel(name, grpc.ssl_channel_credentials(ca, key, cert), options=options)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
