"""Settings of the page, checked on creation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - fields of a dataclass

from cifar10net.errors import ConfigError
from service.config import ImageLimits, check_settings, setting

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """Address, data and limits of the page."""

    models: tuple[Path, ...] = ()
    """Model repositories with ``inside.onnx`` files."""
    data: Path | None = setting(
        None,
        "Labelled test images: a zip or folder with test/<class>/<picture>, the official archive of "
        "CIFAR-10, or a Parquet file. Default: none.",
    )
    runs: Path | None = setting(None, "Folder of runs of cifar10net-train fit. Default: none.")
    host: str = setting("127.0.0.1", "Address to listen on; 0.0.0.0 or :: for all interfaces.")
    port: int = setting(8000, "Port to listen on; 0 lets the system choose.", (0, 65_535))
    allowed_hosts: tuple[str, ...] = setting(
        (),
        "Host name that browsers may use for the page, besides localhost and IP addresses. Can be repeated.",
        option="--allow-host",
        metavar="NAME",
    )
    upload_mib: int = setting(32, "Largest upload, in MiB.", (1, 512), option="--max-upload-mib")
    pictures: int = setting(64, "Pictures per upload.", (1, 1_024), option="--max-pictures")
    limits: ImageLimits = field(default_factory=ImageLimits)
    rate: float = setting(
        20.0,
        "Requests with pictures per second that each address may send, on average.",
        (0.001, 1e6),
        option="--max-rate",
    )
    burst: int = setting(
        60,
        "Requests with pictures that an address may send at once after a pause.",
        (1, 1_000_000),
        option="--max-burst",
    )
    under_way: int = setting(
        16,
        "Requests with pictures that are handled at a time; further ones are refused, to be repeated later.",
        (1, 1_024),
        option="--max-requests",
    )
    grace_s: float = setting(
        5.0, "Seconds that requests under way may take to finish after SIGTERM.", (0, 3_600)
    )
    stall_s: float = 30.0
    """Longest pause within a request's body; no option sets it."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.data is not None and not self.data.exists():
            raise ConfigError(f"no test set at {self.data}: the file or folder does not exist")
        for name in self.allowed_hosts:
            if not _NAME.fullmatch(name):
                raise ConfigError(f"allow_host is {name!r}, wanted a host name in lower case, without port")

    @property
    def upload_bytes(self) -> int:
        """Largest body of a request."""
        return self.upload_mib << 20
