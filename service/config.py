"""Settings of the server: frozen, and checked when they are made."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from cifar10net.config import check_range
from cifar10net.errors import ConfigError
from cifar10net.protocol import DEFAULT_PORT, IMAGE_BYTES, IMAGE_SIDE, MAX_CALL_IMAGES, MAX_MESSAGE_BYTES
from service.runtime.providers import ProviderConfig
from service.version_policy import VersionPolicies

READY_PREFIX = "serving on "
"""What ``cifar10net serve`` prints on standard output, before its address, once it answers."""
PAGE_PREFIX = "page on "
"""What ``cifar10net web`` prints on standard output, before the page's URL, once it answers."""
MOST_MESSAGE_MIB = 512


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """What a picture may be at most, checked before its pixels are decoded."""

    max_bytes: int = 16 << 20
    """Of an encoded image."""
    max_pixels: int = 64_000_000
    """Width times height."""

    def __post_init__(self) -> None:
        check_range("max_image_bytes", self.max_bytes, IMAGE_BYTES, MOST_MESSAGE_MIB << 20)
        check_range("max_image_pixels", self.max_pixels, IMAGE_SIDE**2, 1 << 30)


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """What the server's side of TLS is made from, all PEM."""

    cert: Path
    """The server's certificate, followed by those between it and its authority."""
    key: Path
    """Its private key, without passphrase."""
    client_ca: Path | None = None
    """Certificates of authorities; with them, each client has to show one that they have signed."""
    crl: Path | None = None
    """Lists of revoked client certificates: one of each authority that signs them."""

    def __post_init__(self) -> None:
        if self.crl is not None and self.client_ca is None:
            raise ConfigError("a list of revoked client certificates needs the authorities that sign them")

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that are given."""
        return tuple(path for path in (self.cert, self.key, self.client_ca, self.crl) if path is not None)


@dataclass(frozen=True, kw_only=True)
class SecurityConfig:
    """Whom a server lets in."""

    tls: TlsFiles | None = None
    """None: connections are not encrypted."""
    api_keys: Path | None = None
    """File of API keys; None: callers need none."""
    open_services: tuple[str, ...] = ()
    """Full names of those that need none beside health, such as ``grpc.reflection.v1.ServerReflection``."""

    def __post_init__(self) -> None:
        if self.open_services and self.api_keys is None:
            raise ConfigError("open services are those that need no API key, but no file of keys is given")


@dataclass(frozen=True, kw_only=True)
class TracingConfig:
    """What is traced, and who collects it."""

    endpoint: str
    """Of an OTLP collector, gRPC: ``http://HOST:PORT``, or https for TLS."""
    ratio: float = 0.01
    """Share of the calls that are traced, of those whose callers do not say whether they trace theirs."""

    def __post_init__(self) -> None:
        if not re.fullmatch("https?://[^/]+/?", self.endpoint):
            raise ConfigError(
                f"the OTLP endpoint is {self.endpoint!r}, wanted http://HOST:PORT, or https for TLS"
            )
        check_range("trace_ratio", self.ratio, 0, 1)


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """How to serve."""

    models: Path = Path("exported_models")
    """Model repository: ``<model>/<version>/model.onnx``."""
    default_model: str | None = None
    """Answers requests that name no model; None: cifar10net if it is there, else the first that answers."""
    require_models: tuple[str, ...] = ()
    """Models without which the server does not start, beside the default one."""
    strict_models: bool = False
    """Whether any version that is refused at the start ends it."""
    versions: VersionPolicies = field(default_factory=VersionPolicies)
    """Which versions of each model answer."""
    watch_s: float = 0.0
    """Between looks at the repository for versions that are new, changed or gone; 0 never looks again."""
    model_control: bool = False
    """Whether clients may load and unload models."""
    require_manifest: bool = False
    """Whether a model without a manifest is refused."""
    max_model_mib: int = 1_024
    """Of a model's file, in MiB."""
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    """0 lets the system choose."""
    provider: ProviderConfig = field(default_factory=ProviderConfig)
    workers: int = 1
    """Processes; each has all that follows to itself."""
    instances: int = 1
    """Sessions of each model, each of which runs a batch at a time."""
    threads: int = 1
    """Of ONNX Runtime for one batch."""
    decode_threads: int = 1
    """Pictures decoded at the same time."""
    max_batch: int = 64
    """Images a run of the model."""
    max_pending_images: int = 16_384
    """Images admitted and not yet answered; a call beyond is refused."""
    max_pending_mib: int = 512
    """Of all requests under way, in MiB; a call beyond is refused."""
    max_message_mib: int = MAX_MESSAGE_BYTES >> 20
    """Of one message, in MiB; one beyond is refused."""
    max_call_images: int = MAX_CALL_IMAGES
    """In one call, or one message of a stream; one beyond is refused."""
    max_connections: int = 8_192
    """At a time; one beyond is turned away."""
    max_streams: int = 1_024
    """Calls at a time on one connection; clients wait with more."""
    max_connection_age_s: float = 0.0
    """Until a client has to connect anew, give or take a tenth; its calls then have grace_s. 0: never."""
    max_connection_idle_s: float = 0.0
    """Without a call, until a client is asked to go; 0: never."""
    min_ping_interval_s: float = 5.0
    """Between PINGs of a client that says nothing else; the third in a row that comes sooner is the end."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    """Where metrics are told over HTTP; 0 lets the system choose, None tells them nowhere."""
    max_queue_delay_s: float = 0.0
    """How long a batch that is not full may wait for more images while a session is free."""
    cache_mib: int = 0
    """Memory for answers to images that come again, in MiB; 0 keeps none."""
    limits: ImageLimits = ImageLimits()
    shared_memory: bool = False
    """Whether clients of the Open Inference Protocol may have the server read and write shared memory."""
    log_calls: bool = False
    """Whether each call has a line of its own in the log."""
    grace_s: float = 30.0
    """How long calls in flight may take to finish after SIGTERM."""
    drain_delay_s: float = 0.0
    """How long to go on accepting calls after SIGTERM, once health says NOT_SERVING."""
    security: SecurityConfig = SecurityConfig()
    tracing: TracingConfig | None = None
    """None: calls are not traced."""

    def __post_init__(self) -> None:
        for name, value, smallest, largest in (
            ("port", self.port, 0, 65_535),
            ("metrics_port", self.metrics_port or 0, 0, 65_535),
            ("workers", self.workers, 1, 1_024),
            ("instances", self.instances, 1, 1_024),
            ("threads", self.threads, 1, 1_024),
            ("decode_threads", self.decode_threads, 1, 1_024),
            ("max_batch", self.max_batch, 1, MAX_CALL_IMAGES),
            ("max_pending_images", self.max_pending_images, MAX_CALL_IMAGES, 1 << 24),
            ("max_message_mib", self.max_message_mib, 1, MOST_MESSAGE_MIB),
            ("max_call_images", self.max_call_images, 1, MAX_CALL_IMAGES),
            ("max_pending_mib", self.max_pending_mib, 2 * self.max_message_mib, 1 << 20),
            ("max_connections", self.max_connections, 1, 1 << 20),
            ("max_streams", self.max_streams, 1, 1 << 16),
            ("max_connection_age_s", self.max_connection_age_s, 0, 1 << 31),
            ("max_connection_idle_s", self.max_connection_idle_s, 0, 1 << 31),
            ("min_ping_interval_s", self.min_ping_interval_s, 0, 86_400),
            ("max_queue_delay_s", self.max_queue_delay_s, 0, 60),
            ("watch_s", self.watch_s, 0, 86_400),
            ("max_model_mib", self.max_model_mib, 1, 2_047),  # protobuf's own limit is 2 GiB
            ("cache_mib", self.cache_mib, 0, 1 << 20),
            ("grace_s", self.grace_s, 0, 86_400),
            ("drain_delay_s", self.drain_delay_s, 0, 86_400),
        ):
            check_range(name, value, smallest, largest)
