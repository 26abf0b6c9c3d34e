"""Settings of a client: frozen, and checked when they are made."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cifar10net.errors import ConfigError
from cifar10net.protocol import IMAGE_BYTES, MAX_CALL_IMAGES, MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_IN_FLIGHT = 256
"""Images that a stream reads ahead of the results that were taken: a few batches of the server's."""
_API_KEY = re.compile("[!-~]+")


def check_range(name: str, value: float, smallest: float, largest: float) -> None:
    """Raise ConfigError for a value outside ``smallest`` to ``largest``, both included."""
    if not smallest <= value <= largest:
        raise ConfigError(f"{name} is {value}, wanted {smallest} to {largest}")


@dataclass(frozen=True, kw_only=True)
class Access:
    """How to reach a server that does not let everybody in."""

    is_encrypted: bool = False
    """By TLS; so it is, too, where any file for it is given."""
    ca: Path | None = None
    """Authorities of servers' certificates, PEM; None: those that gRPC knows."""
    cert: Path | None = None
    """The client's certificate, PEM, for servers that want one."""
    key: Path | None = None
    """Its private key, PEM."""
    api_key: str | None = field(default=None, repr=False)
    """Sent with each call."""
    server_name: str | None = None
    """That servers' certificates have to carry; None: the host of the address. Several addresses need it."""

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ConfigError("a client's certificate and its key are given together, or neither of them")
        if self.api_key is not None and not _API_KEY.fullmatch(self.api_key):
            raise ConfigError("the API key is none: wanted printable characters without spaces")

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.is_encrypted or self.ca is not None or self.cert is not None


@dataclass(frozen=True, kw_only=True)
class ClientConfig:
    """How to ask."""

    deadline_s: float = 30.0
    """For each call, retries included; on a stream for the next answer."""
    max_attempts: int = 4
    """Tries of a call that finds the server unavailable or busy; 1 never retries."""
    hedge_after_s: float = 0.0
    """How long a call may go unanswered until the same is asked once more, elsewhere if there are several
    addresses, and the sooner answer is taken; 0 never asks twice. Streams are not hedged."""
    call_images: int = 1_024
    """Most images a call; longer lists become several calls."""
    call_bytes: int = 8 << 20
    """Most image bytes a call, unless one image alone is larger."""
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
