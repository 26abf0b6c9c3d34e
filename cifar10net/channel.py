"""Channels to a server, encrypted or not, and what is sent with each call.

In: an address, and how the server is reached. Out: gRPC's channels, which connect at their first call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from cifar10net.addresses import target
from cifar10net.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cifar10net.config import Access

    Options = Sequence[tuple[str, str | int]]


def open_channel(server: str, access: Access, options: Options) -> grpc.Channel:
    """Prepare connections to ``host:port``, or to several.

    Raises:
        ConfigError: a file cannot be read.
    """
    if not access.uses_tls:
        return grpc.insecure_channel(target(server), options=options)
    return grpc.secure_channel(target(server), _credentials(access), options=options)


def open_aio_channel(server: str, access: Access, options: Options) -> grpc.aio.Channel:
    """Prepare the same for asyncio."""
    if not access.uses_tls:
        return grpc.aio.insecure_channel(target(server), options=options)
    return grpc.aio.secure_channel(target(server), _credentials(access), options=options)


def metadata(access: Access) -> tuple[tuple[str, str], ...]:
    """Return what each call carries."""
    return () if access.api_key is None else (("authorization", f"Bearer {access.api_key}"),)


def _credentials(access: Access) -> grpc.ChannelCredentials:
    ca, key, cert = (None if path is None else _read(path) for path in (access.ca, access.key, access.cert))
    return grpc.ssl_channel_credentials(ca, key, cert)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
