"""Options that several commands share, or that together make one argument of a command."""

from __future__ import annotations

import functools
import inspect
import os
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import click

from cifar10net.addresses import is_loopback
from cifar10net.config import Access, ClientConfig
from cifar10net.errors import ConfigError
from cifar10net.protocol import DEFAULT_SERVER
from service.config import ImageLimits, SecurityConfig, SettingInfo, TlsFiles, TracingConfig, settings
from service.runtime.providers import PROVIDERS, ProviderConfig
from service.version_policy import VersionPolicies

if TYPE_CHECKING:
    from collections.abc import Callable

    Decorator = Callable[[Any], Any]

_API_KEY_VARIABLE = "CIFAR10NET_API_KEY"
"""Environment variable that holds the key itself; a command's arguments can be read by every user of the
machine."""
_FILE = click.Path(path_type=Path)
_file_option = functools.partial(click.option, type=_FILE)


def _in_order(*options: Decorator) -> Decorator:
    """Join options into one decorator; the help lists them in this order."""
    return lambda command: functools.reduce(lambda inner, option: option(inner), reversed(options), command)


def _grouped(name: str, make: Callable[..., Any], *options: Decorator, keeps: str = "") -> Decorator:
    """Give a command one argument instead of several options.

    Args:
        name: of the argument.
        make: makes it from the values of the options, which are the names of its parameters; may raise
            ConfigError.
        options: to be added to the command.
        keeps: a parameter of ``make`` that is also passed to the command.
    """
    taken = inspect.signature(make).parameters

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_value(**given: Any) -> Any:  # noqa: ANN401 - the command's
            value = make(**{each: given[each] for each in taken})
            others = {each: given[each] for each in given if each not in taken or each == keeps}
            return command(**others, **{name: value})

        return with_value

    return _in_order(*options, decorate)


def setting_options(config: type[Any], **others: Decorator) -> Decorator:
    """Add the options of a dataclass of settings, in the order of its fields.

    Args:
        config: a dataclass with fields made by ``service.config.setting``.
        others: options for fields that are not settings, by field.
    """
    shown = dict(settings(config))
    kinds = get_type_hints(config)
    return _in_order(
        *(
            others[name] if name in others else _option(name, shown[name], kind, getattr(config, name))
            for name, kind in kinds.items()
            if name in others or name in shown
        )
    )


def _option(name: str, shown: SettingInfo, kind: Any, default: object) -> Decorator:  # noqa: ANN401 - a type
    """Make the option of a setting, which the command gets by the field's name."""
    [base] = [each for each in get_args(kind) or (kind,) if each not in {NoneType, ...}]
    return click.option(
        shown.option,
        name,
        type=_FILE if base is Path else base,
        is_flag=base is bool,
        multiple=get_origin(kind) is tuple,
        default=None if shown.is_derived else default,
        metavar=shown.metavar,
        help=shown.help,
    )


server_option = click.option("--server", default=DEFAULT_SERVER, metavar="HOST:PORT", help="Server to ask.")


def deadline_option(default_s: float = ClientConfig.deadline_s) -> Decorator:
    """Make the option for the deadline of a call."""
    return click.option(
        "--deadline-s", type=float, default=default_s, help="Deadline of a call in seconds, retries included."
    )


log_options = _in_order(
    click.option(
        "--log-format",
        type=click.Choice(["auto", "console", "json"]),
        default="auto",
        help="auto: console on a terminal, else json.",
    ),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="info",
        help="Lowest level to log.",
    ),
)
"""Gives a command ``log_format`` and ``log_level``."""


def _access(  # noqa: PLR0913 - one for each option
    *,
    tls: bool,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    api_key_file: Path | None,
    server: str | None,
) -> Access:
    api_key = os.environ.get(_API_KEY_VARIABLE) if api_key_file is None else _read_key(api_key_file)
    access = Access(is_encrypted=tls, ca=tls_ca, cert=tls_cert, key=tls_key, api_key=api_key)
    if api_key is not None and not access.uses_tls and server and not is_loopback(server):
        click.echo("warning: the API key is sent unencrypted; use --tls or --tls-ca", err=True)
    return access


def _read_key(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the API key cannot be read from {path}") from error


access_options = _grouped(
    "access",
    _access,
    click.option("--tls", is_flag=True, help="Encrypt; trust the authorities that gRPC trusts by default."),
    _file_option("--tls-ca", help="Encrypt; trust the authorities of this file, PEM."),
    _file_option("--tls-cert", help="Encrypt, and show this client certificate, PEM."),
    _file_option("--tls-key", help="Private key of that certificate, PEM."),
    _file_option(
        "--api-key-file",
        help=f"File that holds the API key. Default: the key in {_API_KEY_VARIABLE}, if it is set.",
    ),
    keeps="server",
)
"""Gives a command that has ``server`` an Access, as ``access``."""


image_options = _grouped("limits", ImageLimits, setting_options(ImageLimits))
"""Gives a command ImageLimits, as ``limits``."""


def _versions(versions: tuple[str, ...]) -> VersionPolicies:
    return VersionPolicies.parse(versions)


version_options = _grouped(
    "versions",
    _versions,
    click.option(
        "--versions",
        multiple=True,
        metavar="[MODEL=]POLICY",
        help="Versions to serve: latest:N, all, or numbers such as 1,3; for every model, or for one, such as "
        "cifar10net=2,3. Can be repeated. Default: latest:1.",
    ),
)
"""Gives a command VersionPolicies, as ``versions``."""


def _provider(
    provider: str,
    device_id: int | None,
    memory_limit_mib: int | None,
    engine_cache: Path | None,
    provider_options: tuple[str, ...],
) -> ProviderConfig:
    return ProviderConfig(
        name=provider,
        device_id=device_id,
        memory_limit_mib=memory_limit_mib,
        cache=engine_cache,
        options=tuple(map(_key_and_value, provider_options)),
    )


def _key_and_value(option: str) -> tuple[str, str]:
    key, separator, value = option.partition("=")
    if not key or not separator:
        raise ConfigError(f"--provider-option is {option!r}, wanted KEY=VALUE, such as device_id=0")
    return key, value


provider_options = _grouped(
    "provider",
    _provider,
    click.option(
        "--provider",
        type=click.Choice(list(PROVIDERS)),
        default=ProviderConfig.name,
        help="ONNX Runtime execution provider; the server does not start without it.",
    ),
    click.option("--device-id", type=int, help="Which of several devices to use (cuda, tensorrt)."),
    click.option(
        "--memory-limit-mib",
        type=int,
        help="Device memory of each session (cuda), or workspace of an engine (tensorrt), in MiB.",
    ),
    _file_option(
        "--engine-cache", help="Folder that keeps compiled engines for the next start (tensorrt, openvino)."
    ),
    click.option(
        "--provider-option",
        "provider_options",
        multiple=True,
        metavar="KEY=VALUE",
        help="Any other option of the provider, as ONNX Runtime names it. Can be repeated.",
    ),
)
"""Gives a command a ProviderConfig, as ``provider``."""


def _security(  # noqa: PLR0913 - one for each option
    *,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    tls_crl: Path | None,
    api_keys: Path | None,
    open_services: tuple[str, ...],
) -> SecurityConfig:
    tls = None
    if tls_cert is not None and tls_key is not None:
        tls = TlsFiles(cert=tls_cert, key=tls_key, client_ca=tls_client_ca, crl=tls_crl)
    elif any((tls_cert, tls_key, tls_client_ca, tls_crl)):
        raise ConfigError("TLS needs both --tls-cert and --tls-key")
    return SecurityConfig(tls=tls, api_keys=api_keys, open_services=open_services)


security_options = _grouped(
    "security",
    _security,
    _file_option("--tls-cert", help="Certificate and its chain, PEM; turns TLS on."),
    _file_option("--tls-key", help="Private key of the certificate, PEM, without a passphrase."),
    _file_option(
        "--tls-client-ca",
        help="Authorities, PEM; each client must show a certificate that one of them signed.",
    ),
    _file_option("--tls-crl", help="Revocation lists of client certificates, PEM."),
    _file_option(
        "--api-keys",
        help="File of API keys, with lines from `cifar10net key`; every service but health then needs a key.",
    ),
    click.option(
        "--open-service",
        "open_services",
        multiple=True,
        metavar="PACKAGE.SERVICE",
        help="Service that needs no key, such as grpc.reflection.v1.ServerReflection. Can be repeated.",
    ),
)
"""Gives a command a SecurityConfig, as ``security``."""


def _tracing(otlp_endpoint: str | None, ratio: float) -> TracingConfig | None:
    return None if otlp_endpoint is None else TracingConfig(endpoint=otlp_endpoint, ratio=ratio)


tracing_options = _grouped(
    "tracing",
    _tracing,
    click.option(
        "--otlp-endpoint",
        metavar="URL",
        help="Collector of OpenTelemetry traces, OTLP over gRPC: http://HOST:PORT, or https for TLS. "
        "Default: no tracing. Needs the extra otel.",
    ),
    setting_options(TracingConfig),
)
"""Gives a command a TracingConfig, as ``tracing``; None where nothing is traced."""
