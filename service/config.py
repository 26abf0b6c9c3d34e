"""Settings of the server: frozen dataclasses that check their values when they are made.

A field made by ``setting`` is also an option of the command line: its name, help, range and default stand
here, and ``service.commands.options`` and the documentation read them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cifar10net.config import check_range
from cifar10net.errors import ConfigError
from cifar10net.protocol import DEFAULT_PORT, IMAGE_BYTES, IMAGE_SIDE, MAX_CALL_IMAGES, MAX_MESSAGE_BYTES
from service.runtime.providers import ProviderConfig
from service.version_policy import VersionPolicies

if TYPE_CHECKING:
    from collections.abc import Iterator

_Value = TypeVar("_Value")
READY_PREFIX = "serving on "
"""What ``cifar10net serve`` prints on standard output, before its address, once it answers."""
PAGE_PREFIX = "page on "
"""What ``cifar10net web`` prints on standard output, before the page's URL, once it answers."""
_MAX_MESSAGE_MIB = 512
_MAX_PENDING_MIB = 1 << 20
_MAX_MODEL_MIB = 2_047  # protobuf's own limit is 2 GiB
_PORTS = (0, 65_535)
_COUNTS = (1, 1_024)
_DAY_S = 86_400


@dataclass(frozen=True, kw_only=True)
class SettingInfo:
    """What the command line and the documentation show for a field."""

    help: str
    bounds: tuple[float, float] | None
    """Smallest and largest allowed value of a number."""
    option: str = ""
    """Such as ``--max-batch``, by default from the field's name; errors call it ``max_batch``."""
    metavar: str | None = None
    is_derived: bool = False
    """Whether ``service.system.cpus.plan`` works out the value where the option is not given."""


def setting(
    default: _Value,
    meaning: str,
    bounds: tuple[float, float] | None = None,
    **others: Any,  # noqa: ANN401 - of SettingInfo
) -> _Value:
    """Declare a field of a dataclass that is an option; the arguments are those of ``SettingInfo``."""
    return field(default=default, metadata={"setting": SettingInfo(help=meaning, bounds=bounds, **others)})


def flag(meaning: str) -> bool:
    """Declare a setting that is off unless its option is given."""
    return setting(default=False, meaning=meaning)


def settings(config: type[Any]) -> Iterator[tuple[str, SettingInfo]]:
    """Yield the name and the SettingInfo of each field of a dataclass that is an option."""
    for each in fields(config):
        if (shown := each.metadata.get("setting")) is not None:
            option = shown.option or f"--{each.name.replace('_', '-')}"
            yield each.name, replace(shown, option=option)


def check_settings(config: object, skip: str = "") -> None:
    """Raise ConfigError for a number outside its range; ``skip`` names a field that is checked elsewhere."""
    for name, shown in settings(type(config)):
        value: Any = getattr(config, name)
        if shown.bounds is not None and value is not None and name != skip:
            check_range(shown.option.removeprefix("--").replace("-", "_"), value, *shown.bounds)


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """Largest pictures that are accepted, checked before their pixels are decoded."""

    max_bytes: int = setting(
        16 << 20,
        "Largest encoded image, in bytes.",
        (IMAGE_BYTES, _MAX_MESSAGE_MIB << 20),
        option="--max-image-bytes",
    )
    max_pixels: int = setting(
        64_000_000,
        "Largest picture, width times height.",
        (IMAGE_SIDE**2, 1 << 30),
        option="--max-image-pixels",
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """The server's side of TLS, all files PEM."""

    cert: Path
    """The server's certificate, followed by the intermediate ones."""
    key: Path
    """Its private key, without a passphrase."""
    client_ca: Path | None = None
    """Certificates of authorities. If given, each client must show a certificate that one of them signed."""
    crl: Path | None = None
    """Revocation lists of client certificates: one for each authority that signs them."""

    def __post_init__(self) -> None:
        if self.crl is not None and self.client_ca is None:
            raise ConfigError("a list of revoked client certificates needs the authorities that sign them")

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that are given."""
        return tuple(path for path in (self.cert, self.key, self.client_ca, self.crl) if path is not None)


@dataclass(frozen=True, kw_only=True)
class SecurityConfig:
    """Encryption and authentication."""

    tls: TlsFiles | None = None
    """None: connections are not encrypted."""
    api_keys: Path | None = None
    """File of API keys; None: callers need no key."""
    open_services: tuple[str, ...] = ()
    """Full names of services that need no key, such as ``grpc.reflection.v1.ServerReflection``."""

    def __post_init__(self) -> None:
        if self.open_services and self.api_keys is None:
            raise ConfigError("open services are exempt from API keys, but no file of keys is given")


@dataclass(frozen=True, kw_only=True)
class TracingConfig:
    """Which calls are traced, and where their spans go."""

    endpoint: str
    """An OTLP collector, gRPC: ``http://HOST:PORT``, or https for TLS."""
    ratio: float = setting(
        0.01,
        "Share of calls to trace, 0 to 1, of those whose callers do not say whether they are traced.",
        (0, 1),
        option="--trace-ratio",
    )

    def __post_init__(self) -> None:
        if not re.fullmatch("https?://[^/]+/?", self.endpoint):
            raise ConfigError(
                f"the OTLP endpoint is {self.endpoint!r}, wanted http://HOST:PORT, or https for TLS"
            )
        check_settings(self)


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """How to serve; the help lists the options in the order of these fields."""

    models: Path = setting(Path("exported_models"), "Model repository: <model>/<version>/model.onnx.")
    default_model: str | None = setting(
        None,
        "Model for requests that name none. Default: cifar10net if it is in the repository, else the first "
        "by name that answers.",
    )
    require_models: tuple[str, ...] = setting(
        (),
        "Do not start unless this model answers; the default model always has to. Can be repeated.",
        option="--require-model",
        metavar="MODEL",
    )
    strict_models: bool = flag(
        "Do not start if any version is refused. Default: the others are served, and `cifar10net models` "
        "says why one is not."
    )
    versions: VersionPolicies = field(default_factory=VersionPolicies)
    """Which versions of each model answer."""
    watch_s: float = setting(
        0.0,
        "Seconds between checks of the repository for new, changed and removed versions; 0: no checks.",
        (0, _DAY_S),
    )
    model_control: bool = flag("Let clients load and unload models.")
    require_manifest: bool = flag("Refuse models without manifest.json instead of warning.")
    max_model_mib: int = setting(1_024, "Largest model file, in MiB.", (1, _MAX_MODEL_MIB))
    host: str = setting("127.0.0.1", "Address to listen on; 0.0.0.0 or :: for all interfaces.")
    port: int = setting(DEFAULT_PORT, "Port to listen on; 0 lets the system choose.", _PORTS)
    metrics_host: str = setting("127.0.0.1", "Address that the metrics port listens on.")
    metrics_port: int | None = setting(
        None,
        "Port for metrics, at http://HOST:PORT/metrics; 0 lets the system choose, and the log says which. "
        "Default: no metrics port.",
        _PORTS,
    )
    provider: ProviderConfig = field(default_factory=ProviderConfig)
    workers: int = setting(
        1, "Worker processes. Default: one for every 4 CPUs; 1 on a GPU.", _COUNTS, is_derived=True
    )
    instances: int = setting(
        1,
        "Sessions of each model, per worker; each runs one batch at a time. Default: what the CPUs allow.",
        _COUNTS,
        is_derived=True,
    )
    threads: int = setting(1, "ONNX Runtime threads of each session. Default: 1.", _COUNTS, is_derived=True)
    decode_threads: int = setting(
        1,
        "Pictures decoded at the same time, per worker. Default: the worker's share of the CPUs.",
        _COUNTS,
        is_derived=True,
    )
    max_batch: int = setting(64, "Images per run of a model.", (1, MAX_CALL_IMAGES))
    max_queue_delay_s: float = setting(
        0.0, "Seconds that a batch may wait for more images while a session is free; 0: no wait.", (0, 60)
    )
    cache_mib: int = setting(
        0, "Memory for the response cache, per worker, in MiB; 0: no cache.", (0, 1 << 20)
    )
    max_pending_images: int = setting(
        16_384,
        "Images admitted and not yet answered, per worker; further calls get RESOURCE_EXHAUSTED.",
        (MAX_CALL_IMAGES, 1 << 24),
    )
    max_pending_mib: int = setting(
        512,
        "Requests under way, per worker, in MiB as sent, at least twice --max-message-mib; they take up to "
        "three times that in memory. Further calls get RESOURCE_EXHAUSTED.",
        (2, _MAX_PENDING_MIB),
    )
    max_message_mib: int = setting(
        MAX_MESSAGE_BYTES >> 20,
        "Largest message of a call or stream, in MiB; larger ones get RESOURCE_EXHAUSTED.",
        (1, _MAX_MESSAGE_MIB),
    )
    max_call_images: int = setting(
        MAX_CALL_IMAGES,
        "Images per call, or per message of a stream; more get INVALID_ARGUMENT.",
        (1, MAX_CALL_IMAGES),
    )
    max_connections: int = setting(8_192, "Open connections per worker; more are turned away.", (1, 1 << 20))
    max_streams: int = setting(
        1_024, "Concurrent calls on one connection; clients hold further ones back.", (1, 1 << 16)
    )
    max_connection_age_s: float = setting(
        0.0,
        "Seconds until a client is asked to reconnect, give or take a tenth; its calls then have --grace-s "
        "to finish. 0: never.",
        (0, 1 << 31),
    )
    max_connection_idle_s: float = setting(
        0.0, "Seconds without a call until a client is asked to close its connection; 0: never.", (0, 1 << 31)
    )
    min_ping_interval_s: float = setting(
        5.0,
        "Seconds between PINGs of a client that sends nothing else; the third in a row that comes sooner "
        "ends the connection.",
        (0, _DAY_S),
    )
    limits: ImageLimits = ImageLimits()
    shared_memory: bool = flag(
        "Let clients of the Open Inference Protocol name POSIX shared memory to read images from and write "
        "answers to: any that the server's user may open."
    )
    grace_s: float = setting(
        30.0, "Seconds that calls in flight may take to finish after SIGTERM.", (0, _DAY_S)
    )
    drain_delay_s: float = setting(
        0.0, "Seconds to go on accepting calls after SIGTERM, while health says NOT_SERVING.", (0, _DAY_S)
    )
    security: SecurityConfig = SecurityConfig()
    log_calls: bool = flag("Log a line for every call, at level info.")
    tracing: TracingConfig | None = None
    """None: calls are not traced."""

    def __post_init__(self) -> None:
        check_settings(self, skip="max_pending_mib")
        check_range("max_pending_mib", self.max_pending_mib, 2 * self.max_message_mib, _MAX_PENDING_MIB)
