"""``cifar10net serve``: from options to a configuration, and to the process or processes that serve by it.

In: what click has read. Out: an exit code. Knows nothing of what a server does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import structlog

from cifar10net.errors import ConfigError
from service.commands.launch import run_alone, supervise_workers
from service.commands.options import log_options, security_options, tracing_options
from service.commands.presentation import echo_object, examples, json_option
from service.config import (
    READY_PREFIX,
    ImageLimits,
    ServerConfig,
)
from service.observability.logs import configure as configure_logs
from service.runtime.providers import PROVIDERS, ProviderConfig
from service.system.cpus import plan, usable_cpus
from service.system.listener import is_loopback
from service.version_policy import VersionPolicies
from service.workers.control_client import CONTROL_FD_VARIABLE
from service.workers.fd_passing import CONNECTIONS_FD_VARIABLE

_FAILED = 1
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
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    default=ServerConfig.models,
    help="Model repository: <model>/<version>/model.onnx.",
)
@click.option(
    "--default-model",
    help="Answers requests that name none. Default: cifar10net, else the first that answers, by name.",
)
@click.option(
    "--require-model",
    "require_models",
    multiple=True,
    metavar="MODEL",
    help="Do not start without this model, as without the default one; can be repeated.",
)
@click.option(
    "--strict-models",
    is_flag=True,
    help="Do not start if any version is refused. Default: the others are served, and `cifar10net models` "
    "says why one is not.",
)
@click.option(
    "--versions",
    multiple=True,
    metavar="[MODEL=]POLICY",
    help="Which versions answer: latest:N, all, or numbers such as 1,3; for every model or for one, such as "
    "cifar10net=2,3; can be repeated. Default: latest:1.",
)
@click.option(
    "--watch-s",
    type=float,
    default=ServerConfig.watch_s,
    help="Seconds between looks at the repository for new, changed and removed versions; 0: none.",
)
@click.option(
    "--model-control",
    is_flag=True,
    help="Let clients load and unload models.",
)
@click.option(
    "--require-manifest",
    is_flag=True,
    help="Refuse a model without manifest.json instead of warning.",
)
@click.option("--max-model-mib", type=int, default=ServerConfig.max_model_mib, help="Largest model file.")
@click.option("--host", default=ServerConfig.host, help="Address to listen on; 0.0.0.0 or :: for all.")
@click.option("--port", type=int, default=ServerConfig.port, help="0 lets the system choose.")
@click.option("--metrics-host", default=ServerConfig.metrics_host, help="Address of the metrics port.")
@click.option(
    "--metrics-port",
    type=int,
    help="Tell metrics at http://HOST:PORT/metrics; 0 lets the system choose, the log says which. "
    "Default: no such port.",
)
@click.option(
    "--provider",
    type=click.Choice(list(PROVIDERS)),
    default=ProviderConfig.name,
    help="ONNX Runtime execution provider; never replaced by another in silence.",
)
@click.option("--device-id", type=int, help="Of several devices the one to use (cuda, tensorrt).")
@click.option(
    "--memory-limit-mib",
    type=int,
    help="Of device memory, for each session (cuda); of an engine's workspace (tensorrt).",
)
@click.option(
    "--engine-cache",
    type=click.Path(path_type=Path),
    help="Folder that keeps compiled engines for the next start (tensorrt, openvino).",
)
@click.option(
    "--provider-option",
    "provider_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any further option of the provider, in ONNX Runtime's words; can be repeated.",
)
@click.option("--workers", type=int, help="Processes. Default: one for every 4 CPUs; 1 on a GPU.")
@click.option("--instances", type=int, help="Sessions of each model, a worker. Default: what CPUs allow.")
@click.option("--threads", type=int, help="Of each session. Default: 1.")
@click.option("--decode-threads", type=int, help="Pictures decoded at a time, a worker. Default: its CPUs.")
@click.option("--door-fd", type=int, envvar=CONNECTIONS_FD_VARIABLE, hidden=True)
@click.option("--intercom-fd", type=int, envvar=CONTROL_FD_VARIABLE, hidden=True)
@click.option("--max-batch", type=int, default=ServerConfig.max_batch, help="Images a run.")
@click.option(
    "--max-queue-delay-s",
    type=float,
    default=ServerConfig.max_queue_delay_s,
    help="How long a batch that is not full waits for more images; 0 never waits.",
)
@click.option(
    "--cache-mib",
    type=int,
    default=ServerConfig.cache_mib,
    help="Memory, a worker, for answers to images that come again; 0 keeps none.",
)
@click.option(
    "--max-pending-images",
    type=int,
    default=ServerConfig.max_pending_images,
    help="Images admitted and unanswered, a worker; calls beyond are RESOURCE_EXHAUSTED.",
)
@click.option(
    "--max-pending-mib",
    type=int,
    default=ServerConfig.max_pending_mib,
    help="Requests under way, a worker, as sent; they take up to three times that in memory. "
    "Calls beyond are RESOURCE_EXHAUSTED.",
)
@click.option(
    "--max-message-mib",
    type=int,
    default=ServerConfig.max_message_mib,
    help="Largest message, a stream's too; those beyond are RESOURCE_EXHAUSTED.",
)
@click.option(
    "--max-call-images",
    type=int,
    default=ServerConfig.max_call_images,
    help="Images a call, or a message of a stream; those beyond are INVALID_ARGUMENT.",
)
@click.option(
    "--max-connections",
    type=int,
    default=ServerConfig.max_connections,
    help="At a time, a worker; those beyond are turned away.",
)
@click.option(
    "--max-streams",
    type=int,
    default=ServerConfig.max_streams,
    help="Calls at a time on one connection; clients wait with more.",
)
@click.option(
    "--max-connection-age-s",
    type=float,
    default=ServerConfig.max_connection_age_s,
    help="When clients are asked to connect anew, give or take a tenth; calls then have --grace-s. 0: never.",
)
@click.option(
    "--max-connection-idle-s",
    type=float,
    default=ServerConfig.max_connection_idle_s,
    help="How long a connection may be without a call; 0: for ever.",
)
@click.option(
    "--min-ping-interval-s",
    type=float,
    default=ServerConfig.min_ping_interval_s,
    help="Between PINGs of a client that says nothing else; three that come sooner end the connection.",
)
@click.option(
    "--max-image-bytes",
    type=int,
    default=ImageLimits.max_bytes,
    help="Largest encoded image.",
)
@click.option(
    "--max-image-pixels",
    type=int,
    default=ImageLimits.max_pixels,
    help="Largest picture, width times height.",
)
@click.option(
    "--shared-memory",
    is_flag=True,
    default=ServerConfig.shared_memory,
    help="Let clients name POSIX shared memory to read images from and write answers to: any that "
    "the server's user may open.",
)
@click.option("--grace-s", type=float, default=ServerConfig.grace_s, help="For calls in flight at SIGTERM.")
@click.option(
    "--drain-delay-s",
    type=float,
    default=ServerConfig.drain_delay_s,
    help="How long to accept calls after SIGTERM, while health says NOT_SERVING.",
)
@security_options
@log_options
@click.option("--log-calls", is_flag=True, help="A line for every call, at level info.")
@tracing_options
@json_option("The line on standard output as a JSON object: address and process id.")
def serve(  # noqa: PLR0913 - click passes each option by name
    *,
    provider: str,
    workers: int | None,
    instances: int | None,
    threads: int | None,
    decode_threads: int | None,
    door_fd: int | None,
    intercom_fd: int | None,
    max_image_bytes: int,
    max_image_pixels: int,
    device_id: int | None,
    memory_limit_mib: int | None,
    engine_cache: Path | None,
    versions: tuple[str, ...],
    provider_options: tuple[str, ...],
    log_format: Any,  # noqa: ANN401 - checked by click
    log_level: str,
    as_json: bool,
    **settings: Any,  # noqa: ANN401 - checked by ServerConfig
) -> None:
    """Serve the models of a repository until SIGTERM.

    Exit code 0: every admitted call was answered; 1: the server could not start, or the grace period passed
    before all were answered.
    """
    configure_logs(log_format, log_level, is_worker=door_fd is not None)
    shares = plan(
        usable_cpus(),
        provider,
        workers=workers,
        instances=instances,
        threads=threads,
        decode_threads=decode_threads,
    )
    config = ServerConfig(
        workers=shares.workers,
        instances=shares.instances,
        threads=shares.threads,
        decode_threads=shares.decode_threads,
        versions=VersionPolicies.parse(versions),
        limits=ImageLimits(max_bytes=max_image_bytes, max_pixels=max_image_pixels),
        provider=ProviderConfig(
            name=provider,
            device_id=device_id,
            memory_limit_mib=memory_limit_mib,
            cache=engine_cache,
            options=tuple(_key_and_value(option) for option in provider_options),
        ),
        **settings,
    )

    def announce(address: str) -> None:
        # Only now: a start that fails is one sentence.
        _log.info("cpus", **shares.fields())
        if shares.is_oversubscribed:
            _log.warning("more model threads than CPUs", threads=shares.model_threads)
        _warn_if_exposed(config)
        if as_json:
            echo_object({"address": address, "pid": os.getpid()})
        else:
            click.echo(f"{READY_PREFIX}{address}")

    if door_fd is not None:
        run_alone(config, lambda _address: None, door_fd, intercom_fd)  # its supervisor announces the server
    elif config.workers > 1:
        supervise_workers(config, announce)
    else:
        run_alone(config, announce)


def _warn_if_exposed(config: ServerConfig) -> None:
    """Have the log warn of what others on the network can read."""
    if config.security.tls is not None or is_loopback(config.host):
        return
    wanted = "--tls-cert and --tls-key, unless something in front of this server encrypts"
    _log.warning("connections are not encrypted", host=config.host, wanted=wanted)
    if config.security.api_keys is not None:
        _log.warning("whoever can read along can take callers' API keys and use them", wanted=wanted)


def _key_and_value(option: str) -> tuple[str, str]:
    key, separator, value = option.partition("=")
    if not key or not separator:
        raise ConfigError(f"--provider-option is {option!r}, wanted KEY=VALUE, such as device_id=0")
    return key, value
