"""The server's life: listen, load, warm up, serve, drain.

Health says NOT_SERVING until every model has answered a warm-up, and again from the first sign of a stop.
Knows nothing of requests.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import signal
from enum import Enum
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeVar

import structlog

from service.access import AccessLog
from service.batching.admission import Admission
from service.config import SecurityConfig, ServerConfig
from service.errors import ConfigError, StartupError
from service.files import make_room
from service.http2.stream import Patience
from service.images import rely_on_own_limits
from service.listening import as_text, listen
from service.memory import give_back_large_blocks
from service.observing import all_of
from service.repository import Repository, load_models
from service.rpc.server import RpcLimits, RpcServer
from service.security.protection import Protection
from service.servicers.classifier import SERVICE_NAME as CLASSIFIER
from service.servicers.classifier import ClassifierServicer
from service.servicers.decoding import Decoder
from service.servicers.health import SERVICE_NAME as HEALTH
from service.servicers.health import HealthServicer
from service.servicers.inference.service import SERVICE_NAME as INFERENCE
from service.servicers.inference.service import InferenceServicer
from service.servicers.reflection import Reflection
from service.servicers.statistics import StatisticsServicer
from service.telemetry import Telemetry
from service.workers.intercom import Intercom

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Iterable

    from service.config import TracingConfig
    from service.model import OnnxModel
    from service.observing import Observer
    from service.repository import Elsewhere
    from service.rpc.method import Method
    from service.tracing.export import Tracing
    from service.workers.handoff import Door

_LAST_SPANS_S = 3.0  # for a collector that does not take what is left in the end
_Result = TypeVar("_Result")
_log = structlog.get_logger(__name__)


class Ending(Enum):
    """How a server came to its end."""

    GRACEFUL = "every admitted call was answered"
    CUT_OFF = "the grace period passed first; a thread may still be at work"
    WHILE_LOADING = "it was stopped before it served; a thread may still be at work"


async def serve(  # noqa: PLR0915 - for now
    config: ServerConfig,
    on_ready: Callable[[str], None],
    door: Door | None = None,
    intercom: Intercom | None = None,
) -> Ending:
    """Serve until SIGTERM or SIGINT, then finish what is in flight.

    Args:
        config: how to serve.
        on_ready: is told the address ``host:port`` once the server answers.
        door: where connections come from, for a worker of several; None listens at the address.
        intercom: what reaches the other workers; None for a server of one process.

    Returns:
        How it ended.

    Raises:
        StartupError: the address is taken or the models cannot be loaded; nothing was served.
    """
    stop = _stop_signal()
    rely_on_own_limits()
    give_back_large_blocks()
    make_room(config.max_connections)
    tracing = None if config.tracing is None else _trace(config.tracing)
    listening = listen(config.host, config.port) if door is None else None
    intercom = intercom or Intercom()
    telemetry = Telemetry(config, intercom, is_worker=door is not None)
    repository = Repository()
    repository.join(intercom)
    decoder = Decoder(config.decode_threads, config.limits)
    observer = all_of([telemetry.observer, *_observers(config, tracing)])
    admission = Admission(config.max_pending_images)
    classifier = ClassifierServicer(repository, admission, decoder, observer, config.max_call_images)
    health = HealthServicer((CLASSIFIER, INFERENCE))
    repository.on_change = lambda: health.set_models(repository.models())
    inference = InferenceServicer(
        repository,
        admission,
        observer,
        config,
        intercom,
        is_ready=lambda: health.is_serving,
        version=version("cifar10net"),
        statistics=telemetry,
    )
    reflection = Reflection((CLASSIFIER, INFERENCE, HEALTH))
    methods = tuple(
        method
        for servicer in (classifier, StatisticsServicer(telemetry), inference, health, reflection)
        for method in servicer.methods()
    )
    protection = _protection(config.security, methods)
    server = RpcServer(
        methods,
        RpcLimits(
            max_message_bytes=config.max_message_mib << 20,
            max_held_bytes=config.max_pending_mib << 20,
            max_connections=config.max_connections,
            max_streams=config.max_streams,
            unfolding_threads=config.decode_threads,
        ),
        _patience(config),
        on_closed=None if door is None else door.say_connection_closed,
        observer=observer,
        protection=protection,
    )
    telemetry.watch(server, methods, admission, repository)
    following = None if protection is None else _follow(protection, server)
    try:
        await intercom.join()
        await inference.join()
        await telemetry.open()
        if listening is not None:
            await server.listen(listening)
        loaded = await _unless(stop, _load(repository, config))
        if loaded is None:
            return Ending.WHILE_LOADING
        models, elsewhere = loaded
        repository.open(models, config, observer, elsewhere)
        # What is there now stays: the collector need not walk it again and again (5% of a call's time).
        gc.collect()
        gc.freeze()
        health.set_serving(info.provider for info in repository.list())
        if listening is not None:
            address = as_text(config.host, listening.getsockname()[1])
            _log.info("serving", address=address, max_batch=config.max_batch)
            on_ready(address)
        elif door is not None:
            _open(door, server, stop)
        repository.watch(config.watch_s)
        await stop.wait()
        repository.stop_watching()
        return await _drain(server, health, config, door)
    finally:
        if following is not None:
            following.cancel()
        await server.close()
        decoder.close()
        await repository.close()
        await telemetry.close()
        await intercom.close()
        if door is not None:
            door.close()
        if tracing is not None:
            await tracing.close(min(config.grace_s, _LAST_SPANS_S))


def _observers(config: ServerConfig, tracing: Tracing | None) -> list[Observer]:
    """Make what is asked for, and nothing that would cost calls without a use."""
    observers: list[Observer] = []
    if config.log_calls:
        observers.append(AccessLog())
    if tracing is not None:
        observers.append(tracing.observer)
    return observers


def _trace(config: TracingConfig) -> Tracing:
    """Begin to export traces. Raises StartupError."""
    # Read when grpc is imported, which nothing else here does: its log is not in our format, and the exporter
    # tells what goes wrong.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from service.tracing.export import Tracing  # noqa: PLC0415 - an extra that others need not have
    except ImportError as error:
        raise StartupError(
            f"--otlp-endpoint needs the extra otel ({error}): pip install 'cifar10net[otel]'"
        ) from error
    return Tracing(config.endpoint, config.ratio)


def _patience(config: ServerConfig) -> Patience:
    return Patience(
        age_s=config.max_connection_age_s or math.inf,
        idle_s=config.max_connection_idle_s or math.inf,
        grace_s=config.grace_s,
        ping_s=config.min_ping_interval_s,
    )


def _protection(config: SecurityConfig, methods: Iterable[Method]) -> Protection | None:
    """Load what keeps others out. Raises StartupError."""
    if config == SecurityConfig():
        return None
    services = {method.path.split("/")[1] for method in methods}
    for name in config.open_services:
        if name not in services:
            raise ConfigError(f"no service is called {name!r}; there are: {', '.join(sorted(services))}")
    return Protection(config, always_open=(HEALTH,))


def _follow(protection: Protection, server: RpcServer) -> asyncio.Task[None]:
    """Have certificates and keys read anew when they change, and at SIGHUP."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, protection.reload)
    return loop.create_task(protection.follow(server))


async def _load(
    repository: Repository, config: ServerConfig
) -> tuple[list[tuple[OnnxModel, ...]], Elsewhere | None]:
    """Load what the server's other processes answer with, if there are any, else what is configured."""
    elsewhere = await repository.elsewhere()
    like = () if elsewhere is None else (elsewhere.versions,)
    return await asyncio.to_thread(load_models, config, *like), elsewhere


def _open(door: Door, server: RpcServer, stop: asyncio.Event) -> None:
    """Take connections from a supervisor, until it is gone."""
    taking: set[asyncio.Task[None]] = set()

    def take(connection: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(server.take(connection))
        taking.add(task)
        task.add_done_callback(taking.discard)

    door.open(take, stop.set)
    door.say_ready()


async def _drain(
    server: RpcServer, health: HealthServicer, config: ServerConfig, door: Door | None
) -> Ending:
    """Say NOT_SERVING, go on for the drain delay, then refuse new calls and finish the admitted ones."""
    _log.info("stopping", drain_delay_s=config.drain_delay_s, grace_s=config.grace_s)
    health.set_not_serving()
    await asyncio.sleep(config.drain_delay_s)
    if door is not None:
        door.say_stopping()
    if not await server.drain(config.grace_s):
        _log.warning("grace period over", unanswered_calls=server.calls)
        return Ending.CUT_OFF
    _log.info("stopped")
    return Ending.GRACEFUL


async def _unless(stop: asyncio.Event, work: Coroutine[None, None, _Result]) -> _Result | None:
    """Wait for some work; None if the stop comes first."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    return working.result() if working.done() else None


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
