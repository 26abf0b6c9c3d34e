"""Settings of the page: frozen, and checked when they are made."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - fields of a dataclass

from cifar10net.errors import ConfigError
from service.config import ImageLimits

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """Where the page is, and what its visitors may ask of it."""

    models: tuple[Path, ...] = ()
    """Model repositories with ``inside.onnx`` beside models."""
    data: Path | None = None
    """A labelled test set."""
    runs: Path | None = None
    """A folder of what ``cifar10net-train fit`` writes."""
    host: str = "127.0.0.1"
    port: int = 8000
    """0 lets the system choose."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, in lower case, that the page may be asked by beside ``localhost`` and IP addresses."""
    upload_mib: int = 32
    """Of a request's body, in MiB."""
    pictures: int = 64
    """In a request."""
    rate: float = 20.0
    """Requests with pictures that an address may send a second, on average."""
    burst: int = 60
    """How many of them at once, after a pause."""
    under_way: int = 16
    """Requests with pictures that are worked on at a time; those beyond are told to come again."""
    stall_s: float = 30.0
    """How long a request's body may bring nothing."""
    grace_s: float = 5.0
    """For requests under way at SIGTERM."""
    limits: ImageLimits = field(default_factory=ImageLimits)

    def __post_init__(self) -> None:
        for name, value, smallest, largest in (
            ("port", self.port, 0, 65_535),
            ("max_upload_mib", self.upload_mib, 1, 512),
            ("max_pictures", self.pictures, 1, 1_024),
            ("max_rate", self.rate, 0.001, 1e6),
            ("max_burst", self.burst, 1, 1_000_000),
            ("max_requests", self.under_way, 1, 1_024),
            ("stall_s", self.stall_s, 0.01, 3_600),
            ("grace_s", self.grace_s, 0, 3_600),
        ):
            if not smallest <= value <= largest:
                raise ConfigError(f"{name} is {value}, wanted {smallest:g} to {largest:g}")
        if self.data is not None and not self.data.exists():
            raise ConfigError(f"no test set at {self.data}: the file or folder does not exist")
        for name in self.allowed_hosts:
            if not _NAME.fullmatch(name):
                raise ConfigError(f"a host to allow is {name!r}, wanted a name in lower case, without port")

    @property
    def upload_bytes(self) -> int:
        """Most that a request's body may have."""
        return self.upload_mib << 20
