"""Options that several commands share, or that make one setting together.

In: what click has read. Out: a config, as a keyword argument of the command. Does nothing with it.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from cifar10net.addresses import is_loopback
from cifar10net.config import Access, ClientConfig
from cifar10net.errors import ConfigError
from cifar10net.protocol import DEFAULT_SERVER
from service.config import SecurityConfig, TlsFiles, TracingConfig

if TYPE_CHECKING:
    from collections.abc import Callable

_Command = TypeVar("_Command", bound="Callable[..., Any]")
API_KEY_VARIABLE = "CIFAR10NET_API_KEY"
"""Environment variable that holds the key itself; an argument would be seen by everybody on the machine."""
_FILE = click.Path(path_type=Path)

server_option = click.option("--server", default=DEFAULT_SERVER, metavar="HOST:PORT", help="Server to ask.")


def deadline_option(default_s: float = ClientConfig.deadline_s) -> Callable[[_Command], _Command]:
    """Make the option that says how long is waited for an answer."""
    return click.option(
        "--deadline-s",
        type=float,
        default=default_s,
        help="Seconds that a call may take, retries included.",
    )


def log_options(command: _Command) -> _Command:
    """Add what the log is set up by, which the command gets as ``log_format`` and ``log_level``."""
    for option in reversed(_LOG_OPTIONS):
        option(command)
    return command


_LOG_OPTIONS = (
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
        help="Least that is logged.",
    ),
)


def access_options(command: _Command) -> _Command:
    """Add what makes an Access, which the command, one with ``server``, gets as ``access``."""

    def with_access(  # noqa: PLR0913 - click passes each option by name
        *,
        tls: bool,
        tls_ca: Path | None,
        tls_cert: Path | None,
        tls_key: Path | None,
        api_key_file: Path | None,
        server: str | None,
        **others: Any,  # noqa: ANN401 - the command's
    ) -> None:
        api_key = os.environ.get(API_KEY_VARIABLE) if api_key_file is None else _read_key(api_key_file)
        access = Access(is_encrypted=tls, ca=tls_ca, cert=tls_cert, key=tls_key, api_key=api_key)
        if api_key is not None and not access.uses_tls and server and not is_loopback(server):
            click.echo(
                "warning: whoever can read along can take the API key; use --tls or --tls-ca", err=True
            )
        command(access=access, server=server, **others)

    for option in reversed(_ACCESS_OPTIONS):
        option(command)
    return cast("_Command", functools.update_wrapper(with_access, command))


def _read_key(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the API key cannot be read from {path}") from error


_ACCESS_OPTIONS = (
    click.option("--tls", is_flag=True, help="Encrypt; trust the authorities that gRPC knows."),
    click.option("--tls-ca", type=_FILE, help="Encrypt; trust the authorities of this file, PEM."),
    click.option("--tls-cert", type=_FILE, help="Encrypt, and show this certificate, PEM."),
    click.option("--tls-key", type=_FILE, help="The private key of that certificate, PEM."),
    click.option(
        "--api-key-file",
        type=_FILE,
        help=f"File that holds the API key. Default: what {API_KEY_VARIABLE} holds, if anything.",
    ),
)


def security_options(command: _Command) -> _Command:
    """Add what makes a SecurityConfig, which the command gets as ``security``."""

    def with_config(  # noqa: PLR0913 - click passes each option by name
        *,
        tls_cert: Path | None,
        tls_key: Path | None,
        tls_client_ca: Path | None,
        tls_crl: Path | None,
        api_keys: Path | None,
        open_services: tuple[str, ...],
        **others: Any,  # noqa: ANN401 - the command's
    ) -> None:
        tls = None
        if tls_cert is not None and tls_key is not None:
            tls = TlsFiles(cert=tls_cert, key=tls_key, client_ca=tls_client_ca, crl=tls_crl)
        elif any((tls_cert, tls_key, tls_client_ca, tls_crl)):
            raise ConfigError("TLS needs both --tls-cert and --tls-key")
        command(security=SecurityConfig(tls=tls, api_keys=api_keys, open_services=open_services), **others)

    for option in reversed(_SECURITY_OPTIONS):
        option(command)
    return cast("_Command", functools.update_wrapper(with_config, command))


_SECURITY_OPTIONS = (
    click.option("--tls-cert", type=_FILE, help="Certificate, PEM, and its chain: connections use TLS."),
    click.option("--tls-key", type=_FILE, help="Its private key, PEM, without passphrase."),
    click.option(
        "--tls-client-ca",
        type=_FILE,
        help="Authorities, PEM; each client has to show a certificate that one of them has signed.",
    ),
    click.option("--tls-crl", type=_FILE, help="Lists of revoked client certificates, PEM."),
    click.option(
        "--api-keys",
        type=_FILE,
        help="File of API keys, by lines of `cifar10net key`; every service but health wants one then.",
    ),
    click.option(
        "--open-service",
        "open_services",
        multiple=True,
        metavar="PACKAGE.SERVICE",
        help="A service that wants no key, such as grpc.reflection.v1.ServerReflection; can be repeated.",
    ),
)


def tracing_options(command: _Command) -> _Command:
    """Add what makes a TracingConfig, which the command gets as ``tracing``; None if nothing is traced."""

    def with_config(
        *,
        otlp_endpoint: str | None,
        trace_ratio: float,
        **others: Any,  # noqa: ANN401 - the command's
    ) -> None:
        tracing = None if otlp_endpoint is None else TracingConfig(endpoint=otlp_endpoint, ratio=trace_ratio)
        command(tracing=tracing, **others)

    for option in reversed(_TRACING_OPTIONS):
        option(command)
    return cast("_Command", functools.update_wrapper(with_config, command))


_TRACING_OPTIONS = (
    click.option(
        "--otlp-endpoint",
        metavar="URL",
        help="Collector of OpenTelemetry traces, by OTLP over gRPC: http://HOST:PORT, or https. "
        "Default: calls are not traced. Needs the extra otel.",
    ),
    click.option(
        "--trace-ratio",
        type=float,
        default=TracingConfig.ratio,
        help="Share of the calls that are traced, 0 to 1, of those whose callers do not say.",
    ),
)
