"""Settings of the page, checked on creation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - fields of a dataclass

from cifar10net.errors import ConfigError
from service.config import ImageLimits

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """Address, data and limits of the page."""

    models: tuple[Path, ...] = ()
    """Model repositories with ``inside.onnx`` files."""
    data: Path | None = None
    """Labelled test set."""
    runs: Path | None = None
    """Folder of runs of ``cifar10net-train fit``."""
    host: str = "127.0.0.1"
    port: int = 8000
    """0 lets the system choose."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names, in lower case, accepted besides ``localhost`` and IP addresses."""
    upload_mib: int = 32
    """Largest body of a request, in MiB."""
    pictures: int = 64
    """Most pictures per request."""
    rate: float = 20.0
    """Requests with pictures per second that an address may send, on average."""
    burst: int = 60
    """Requests with pictures that an address may send at once after a pause."""
    under_way: int = 16
    """Requests with pictures that are handled at a time; further ones are refused, to be repeated later."""
    stall_s: float = 30.0
    """Longest pause within a request's body."""
    grace_s: float = 5.0
    """Time for requests under way to finish after SIGTERM."""
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
                raise ConfigError(f"allow_host is {name!r}, wanted a host name in lower case, without port")

    @property
    def upload_bytes(self) -> int:
        """Largest body of a request."""
        return self.upload_mib << 20
