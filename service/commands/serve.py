"""``cifar10net serve``: builds the server's configuration, then runs the server or its supervisor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click
import structlog

from service.commands.launch import run_alone, supervise_workers
from service.commands.options import (
    image_options,
    log_options,
    provider_options,
    security_options,
    setting_options,
    tracing_options,
    version_options,
)
from service.commands.presentation import echo_object, examples, json_option
from service.config import READY_PREFIX, ServerConfig, settings
from service.observability.logs import configure as configure_logs
from service.system.cpus import plan, usable_cpus
from service.system.listener import is_loopback
from service.workers.control_client import CONTROL_FD_VARIABLE
from service.workers.fd_passing import CONNECTIONS_FD_VARIABLE

if TYPE_CHECKING:
    from service.runtime.providers import ProviderConfig

_log = structlog.get_logger(__name__)


@click.command(
    epilog=examples(
        "cifar10net serve",
        "cifar10net serve --models exported_models --host 0.0.0.0 --port 50051",
        "cifar10net serve --watch-s 5 --versions latest:2 --versions resnet=1",
        "cifar10net serve --workers 2 --instances 1 --metrics-port 9100",
        "cifar10net serve --tls-cert server.crt --tls-key server.key --api-keys keys.txt",
        "CIFAR10NET_SERVE_MAX_BATCH=128 cifar10net serve --port 0 --json",
    )
)
@setting_options(
    ServerConfig,
    versions=version_options,
    provider=provider_options,
    limits=image_options,
    security=security_options,
    tracing=tracing_options,
)
@log_options
@json_option("Print the address and the process id as a JSON object.")
@click.option("--door-fd", "connections_fd", type=int, envvar=CONNECTIONS_FD_VARIABLE, hidden=True)
@click.option("--intercom-fd", "control_fd", type=int, envvar=CONTROL_FD_VARIABLE, hidden=True)
def serve(  # noqa: PLR0913 - click passes each option by name
    *,
    provider: ProviderConfig,
    connections_fd: int | None,
    control_fd: int | None,
    log_format: Any,  # noqa: ANN401 - checked by click
    log_level: str,
    as_json: bool,
    **given: Any,  # noqa: ANN401 - checked by ServerConfig
) -> None:
    """Serve the models of a repository until SIGTERM.

    Exit code 0: every admitted call was answered; 1: the server could not start, or the grace period ended
    before all calls were answered.
    """
    configure_logs(log_format, log_level, is_worker=connections_fd is not None)
    derived = [name for name, shown in settings(ServerConfig) if shown.is_derived]
    shares = plan(usable_cpus(), provider.name, **{name: given.pop(name) for name in derived})
    config = ServerConfig(provider=provider, **{name: getattr(shares, name) for name in derived}, **given)

    def announce(address: str) -> None:
        # Logged only once the server runs: a start that fails prints one sentence and no more.
        _log.info("cpus", **shares.fields())
        if shares.is_oversubscribed:
            _log.warning("more model threads than CPUs", threads=shares.model_threads)
        _warn_if_exposed(config)
        if as_json:
            echo_object({"address": address, "pid": os.getpid()})
        else:
            click.echo(f"{READY_PREFIX}{address}")

    if connections_fd is not None:
        # The supervisor announces the server.
        run_alone(config, lambda _address: None, connections_fd, control_fd)
    elif config.workers > 1:
        supervise_workers(config, announce)
    else:
        run_alone(config, announce)


def _warn_if_exposed(config: ServerConfig) -> None:
    """Log a warning if connections from other machines are not encrypted."""
    if config.security.tls is not None or is_loopback(config.host):
        return
    wanted = "--tls-cert and --tls-key, unless something in front of this server encrypts"
    _log.warning("connections are not encrypted", host=config.host, wanted=wanted)
    if config.security.api_keys is not None:
        _log.warning("whoever can read along can take callers' API keys and use them", wanted=wanted)
