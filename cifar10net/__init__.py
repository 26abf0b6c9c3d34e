"""The client library: ``Client`` for ordinary code, ``AsyncClient`` for asyncio.

Both keep their connections, set a deadline on every call, retry calls that found the server unavailable or
busy (classification has no side effects), take turns between several addresses, split long lists to stay
below the message limit, and return plain dataclasses, one for each image, in order.

    with Client("127.0.0.1:50051") as client:
        for result in client.classify(["cat.jpg", "ship.png"]):
            print(result.best.label, result.best.probability)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cifar10net.asynchronous import AsyncClient
    from cifar10net.blocking import Client
    from cifar10net.config import Access, ClientConfig
    from cifar10net.errors import (
        ClientError,
        ConfigError,
        ImageError,
        ImageErrorCode,
        ServerUnavailableError,
    )
    from cifar10net.messages import ClassScore, ImageLike, ImageResult, ModelDescription, VersionState
    from cifar10net.request_options import Options, Priority
    from cifar10net.statistics import ServerStatistics

__all__ = [
    "Access",
    "AsyncClient",
    "ClassScore",
    "Client",
    "ClientConfig",
    "ClientError",
    "ConfigError",
    "ImageError",
    "ImageErrorCode",
    "ImageLike",
    "ImageResult",
    "ModelDescription",
    "Options",
    "Priority",
    "ServerStatistics",
    "ServerUnavailableError",
    "VersionState",
]

# Each module is imported on first use: server workers need only a few of them, and not gRPC's 20 MiB.
_MODULES = {
    "asynchronous": ("AsyncClient",),
    "blocking": ("Client",),
    "config": ("Access", "ClientConfig"),
    "errors": ("ClientError", "ConfigError", "ImageError", "ImageErrorCode", "ServerUnavailableError"),
    "messages": ("ClassScore", "ImageLike", "ImageResult", "ModelDescription", "VersionState"),
    "request_options": ("Options", "Priority"),
    "statistics": ("ServerStatistics",),
}


if not TYPE_CHECKING:  # else type checkers would accept any name

    def __getattr__(name: str) -> object:
        for module, names in _MODULES.items():
            if name in names:
                return globals().setdefault(name, getattr(import_module(f"cifar10net.{module}"), name))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
