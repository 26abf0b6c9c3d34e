"""Ask a server: ``Client`` for ordinary code, ``AsyncClient`` for asyncio.

Both keep their connections, set a deadline on every call, repeat calls that found the server unavailable or
busy (classification has no side effects), take turns between several addresses, split long lists below the
message limit, and answer in plain dataclasses, one an image, in order.

    with Client("127.0.0.1:50051") as client:
        for result in client.classify(["cat.jpg", "ship.png"]):
            print(result.best.label, result.best.probability)
"""

from service.client.asynchronous import AsyncClient
from service.client.blocking import Client
from service.client.question import Options, Priority
from service.config import Access, ClientConfig
from service.errors import ClientError, ConfigError, ImageError, ImageErrorCode, ServerUnavailableError
from service.figures import ServerStatistics
from service.wire import ClassScore, ImageLike, ImageResult, ModelDescription, VersionState

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
