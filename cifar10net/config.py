"""Client settings: immutable, and validated when they are created."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cifar10net.errors import ConfigError
from cifar10net.protocol import IMAGE_BYTES, MAX_CALL_IMAGES, MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_IN_FLIGHT = 256
"""Images that a stream reads ahead of the results taken: a few of the server's batches."""
_API_KEY = re.compile("[!-~]+")


def check_range(name: str, value: float, smallest: float, largest: float) -> None:
    """Raise ConfigError for a value outside ``smallest`` to ``largest``, both included."""
    if not smallest <= value <= largest:
        raise ConfigError(f"{name} is {value}, wanted {smallest} to {largest}")


@dataclass(frozen=True, kw_only=True)
class Access:
    """TLS and credentials for a server that requires them."""

    is_encrypted: bool = False
    """Use TLS; implied by ``ca`` and ``cert``."""
    ca: Path | None = None
    """PEM file with the certificate authorities to trust; None: gRPC's own list."""
    cert: Path | None = None
    """The client's certificate, PEM, for servers that ask for one."""
    key: Path | None = None
    """Its private key, PEM."""
    api_key: str | None = field(default=None, repr=False)
    """Sent with each call."""
    server_name: str | None = None
    """Name to expect in the server's certificate; None: the host in the address. Required for several
    addresses."""

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ConfigError("a client certificate and its private key go together: give both or neither")
        if self.api_key is not None and not _API_KEY.fullmatch(self.api_key):
            raise ConfigError("the API key is malformed: wanted printable ASCII characters without spaces")

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.is_encrypted or self.ca is not None or self.cert is not None


@dataclass(frozen=True, kw_only=True)
class ClientConfig:
    """Deadlines, retries, call sizes and access."""

    deadline_s: float = 30.0
    """For each call, retries included; on a stream, for the next answer."""
    max_attempts: int = 4
    """Attempts at a call while the server is unavailable or busy; 1 disables retries."""
    hedge_after_s: float = 0.0
    """Send a call a second time if it is unanswered after this long, to another address if there are several,
    and take the first answer; 0 disables hedging. Streams are never hedged."""
    call_images: int = 1_024
    """Most images in a call; longer lists become several calls."""
    call_bytes: int = 8 << 20
    """Most image bytes in a call; a single larger image still gets a call of its own."""
    access: Access = Access()

    def __post_init__(self) -> None:
        for name, value, smallest, largest in (
            ("deadline_s", self.deadline_s, 0.001, 86_400),
            ("max_attempts", self.max_attempts, 1, 5),  # 5 is gRPC's own cap
            ("hedge_after_s", self.hedge_after_s, 0, 86_400),
            ("call_images", self.call_images, 1, MAX_CALL_IMAGES),
            ("call_bytes", self.call_bytes, IMAGE_BYTES, MAX_MESSAGE_BYTES - (1 << 20)),
        ):
            check_range(name, value, smallest, largest)
