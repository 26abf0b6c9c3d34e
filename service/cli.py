"""``cifar10net`` and its commands; reads flags, then environment, then defaults.

What a command needs is imported by the command alone: the supervisor of a server stays small.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import structlog

from service.config import (
    DEFAULT_TOP_K,
    LARGEST_TOP_K,
    READY_PREFIX,
    Access,
    ClientConfig,
    ImageLimits,
    ServerConfig,
)
from service.errors import ClientError, ConfigError, StartupError
from service.listening import is_loopback
from service.logs import configure as configure_logs
from service.options import (
    access_options,
    deadline_option,
    security_options,
    server_option,
    tracing_options,
)
from service.providers import PROVIDERS, ProviderConfig
from service.stats import stats
from service.versions import VersionPolicies
from service.workers.cpus import plan, usable_cpus
from service.workers.handoff import FD_VARIABLE as DOOR_FD_VARIABLE
from service.workers.intercom import FD_VARIABLE as INTERCOM_FD_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable

_FAILED = 1
_COULD_NOT_RUN = 2
_log = structlog.get_logger(__name__)


@click.group(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "auto_envvar_prefix": "CIFAR10NET",
    }
)
@click.version_option(version("cifar10net"))
def cli() -> None:
    """Serve image classifiers over gRPC, and ask such a server.

    Every option can be set by an environment variable, such as CIFAR10NET_SERVE_PORT.
    """


def main() -> None:
    """Run the command line; exit 1 if the server cannot start, 2 for what could not be asked or set."""
    try:
        cli()
    except (ConfigError, ClientError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(_COULD_NOT_RUN)
    except StartupError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(_FAILED)


@cli.command()
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    default=ServerConfig.models,
    help="Model repository: <model>/<version>/model.onnx.",
)
@click.option(
    "--default-model",
    help="Answers requests that name none. Default: cifar10net, else the first by name.",
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
    envvar="CIFAR10NET_SERVE_MODEL_CONTROL",
    is_flag=True,
    help="Let clients load and unload models.",
)
@click.option(
    "--require-manifest",
    envvar="CIFAR10NET_SERVE_REQUIRE_MANIFEST",
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
@click.option("--door-fd", type=int, envvar=DOOR_FD_VARIABLE, hidden=True)
@click.option("--intercom-fd", type=int, envvar=INTERCOM_FD_VARIABLE, hidden=True)
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
    envvar="CIFAR10NET_SERVE_SHARED_MEMORY",
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
@click.option(
    "--log-format",
    type=click.Choice(["auto", "console", "json"]),
    default="auto",
    help="auto: console on a terminal, else json.",
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
@click.option("--log-calls", is_flag=True, help="A line for every call, at level info.")
@tracing_options
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
        click.echo(f"{READY_PREFIX}{address}")

    if door_fd is not None:
        _serve(
            config, lambda _address: None, door_fd, intercom_fd
        )  # a worker: its supervisor announces the server
    elif config.workers > 1:
        _supervise(config, announce)
    else:
        _serve(config, announce)


def _warn_if_exposed(config: ServerConfig) -> None:
    """Have the log warn of what others on the network can read."""
    if config.security.tls is not None or is_loopback(config.host):
        return
    wanted = "--tls-cert and --tls-key, unless something in front of this server encrypts"
    _log.warning("connections are not encrypted", host=config.host, wanted=wanted)
    if config.security.api_keys is not None:
        _log.warning("whoever can read along can take callers' API keys and use them", wanted=wanted)


def _supervise(config: ServerConfig, on_ready: Callable[[str], None]) -> None:
    from service.workers.supervisor import supervise  # noqa: PLC0415 - needed by this command alone

    # A worker is this very command, told apart by the door in its environment.
    command = [sys.executable, *sys.orig_argv[1:]]
    sys.exit(asyncio.run(supervise(config, command, on_ready)))


def _serve(
    config: ServerConfig,
    on_ready: Callable[[str], None],
    door_fd: int | None = None,
    intercom_fd: int | None = None,
) -> None:
    from service.server import Ending  # noqa: PLC0415
    from service.server import serve as serve_forever  # noqa: PLC0415
    from service.workers.handoff import Door  # noqa: PLC0415 - needed by this command alone
    from service.workers.intercom import Intercom  # noqa: PLC0415

    with asyncio.Runner(loop_factory=_new_event_loop()) as runner:
        door = None if door_fd is None else Door(door_fd)
        ending = runner.run(serve_forever(config, on_ready, door, Intercom(intercom_fd)))
        if ending is not Ending.GRACEFUL:
            # A thread that is stuck in a model would hold the interpreter's ordinary end up for ever.
            sys.stdout.flush()
            os._exit(_FAILED if ending is Ending.CUT_OFF else 0)


def _key_and_value(option: str) -> tuple[str, str]:
    key, separator, value = option.partition("=")
    if not key or not separator:
        raise ConfigError(f"--provider-option is {option!r}, wanted KEY=VALUE, such as device_id=0")
    return key, value


def _new_event_loop() -> Any:  # noqa: ANN401 - uvloop's and asyncio's loops share no exported type
    """Use uvloop where it exists: every system but Windows."""
    try:
        import uvloop  # noqa: PLC0415 - it is not installed on Windows
    except ImportError:
        return None
    return uvloop.new_event_loop


@cli.command()
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
@server_option
@access_options
@click.option("--top", type=click.IntRange(1, LARGEST_TOP_K), default=DEFAULT_TOP_K, help="Classes an image.")
@click.option("--model", default="", help="Model to ask; default: the server's.")
@click.option("--model-version", default="", help="Its version; default: the newest.")
@click.option(
    "--json",
    "as_json",
    envvar="CIFAR10NET_CLASSIFY_JSON",
    is_flag=True,
    help="A JSON object a file, one a line.",
)
@click.option(
    "--timing", is_flag=True, help="Print on standard error how long each call took, and its parts."
)
@deadline_option
def classify(  # noqa: PLR0913 - click passes each option by name
    *,
    files: tuple[Path, ...],
    server: str,
    access: Access,
    top: int,
    model: str,
    model_version: str,
    as_json: bool,
    timing: bool,
    deadline_s: float,
) -> None:
    """Print the most likely classes of picture files.

    Exit code 0: all were classified; 1: some could not be, which standard error explains; 2: the
    server did not answer.
    """
    from service.client import Client  # noqa: PLC0415 - needed by some commands alone
    from service.report import as_lines, as_object, as_timing  # noqa: PLC0415

    failed = False
    with Client(server, ClientConfig(deadline_s=deadline_s, access=access)) as client:
        results = client.classify_iter(
            files,
            top_k=top,
            model=model,
            version=model_version,
            on_timing=(lambda parts: click.echo(as_timing(parts), err=True)) if timing else None,
        )
        for path, result in zip(files, results, strict=True):
            if as_json:
                click.echo(json.dumps(as_object(str(path), result), ensure_ascii=False))
            elif result.error is None:
                click.echo(as_lines(str(path), result))
            if result.error is not None:
                failed = True
                click.echo(f"{path}: {result.error.message}", err=True)
    if failed:
        sys.exit(_FAILED)


@cli.command()
@server_option
@access_options
@deadline_option
@click.option(
    "--json",
    "as_json",
    envvar="CIFAR10NET_MODELS_JSON",
    is_flag=True,
    help="A JSON object a model, one a line.",
)
def models(*, server: str, access: Access, deadline_s: float, as_json: bool) -> None:
    """List the models that a server answers for, and the versions in its repository that do not answer."""
    from rich import box  # noqa: PLC0415 - needed by this command alone
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from service.client import Client  # noqa: PLC0415

    with Client(server, ClientConfig(deadline_s=deadline_s, access=access)) as client:
        found, versions = client.models(), client.versions()
    answering = {(model.name, model.version) for model in found}
    others = [each for each in versions if (each.name, each.version) not in answering]
    if as_json:
        states = {(each.name, each.version): vars(each) for each in versions}
        for model in found:
            state = states.get((model.name, model.version), {})
            click.echo(json.dumps({**vars(model), **state}, ensure_ascii=False))
        for other in others:
            click.echo(json.dumps(vars(other), ensure_ascii=False))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("model", "version", "default", "provider", "classes", "top-1", "top-3", "state"):
        table.add_column(title)
    for model in found:
        table.add_row(
            model.name,
            model.version,
            "yes" if model.is_default else "",
            model.provider.removesuffix("ExecutionProvider"),
            str(len(model.labels)),
            model.metadata.get("accuracy_top1", "?"),
            model.metadata.get("accuracy_top3", "?"),
            "READY",
        )
    for other in others:
        table.add_row(other.name, other.version, "", "", "", "", "", other.state)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(table)
    for each in versions:
        if each.reason:
            console.print(f"{each.name} {each.version}: {each.reason}")


cli.add_command(stats)


@cli.command()
@server_option
@access_options
@click.option("--service", default="", help="gRPC service to ask about; default: the server.")
@click.option(
    "--timeout-s",
    type=click.FloatRange(0, 3600, min_open=True),
    default=5.0,
    help="Seconds to wait for an answer.",
)
def health(*, server: str, access: Access, service: str, timeout_s: float) -> None:
    """Print a server's health; exit code 0 only for SERVING."""
    from service.process import check_health  # noqa: PLC0415 - needed by this command alone

    status = check_health(server, timeout_s, service, access)
    click.echo(status)
    if status != "SERVING":
        sys.exit(_FAILED)


@cli.command()
@click.argument("name")
@click.option(
    "--rights",
    default="*",
    metavar="PATTERN,...",
    help="Services, or package.Service/Method, that it may be used for; * stands for anything.",
)
@click.option("--until", metavar="TIME", help="Date or time (ISO 8601, UTC) when it expires. Default: never.")
@click.option(
    "--to",
    "path",
    type=click.Path(path_type=Path),
    help="File of keys that gets the line; then only the key is printed.",
)
def key(*, name: str, rights: str, until: str | None, path: Path | None) -> None:
    """Make an API key for NAME, and the line for the file of `serve --api-keys`.

    The key is shown this once: the file holds its hash alone.
    """
    from service.security.issuing import add_line, make_key  # noqa: PLC0415 - needed by this command alone

    made, line = make_key(name, rights, until)
    if path is not None:
        add_line(path, line)
        click.echo(made)
    else:
        click.echo(f"key, for {name}:\n  {made}\nline, for the file of keys:\n  {line}")


if __name__ == "__main__":
    main()
