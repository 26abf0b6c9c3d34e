"""The server's life: listen, load, warm up, serve, drain.

Health says NOT_SERVING until every model has answered a warm-up, and again from the first sign of a stop.
Knows nothing of requests.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from service.admission import Admission
from service.config import MAX_MESSAGE_BYTES, ServerConfig
from service.errors import AddressError
from service.images import rely_on_own_limits
from service.repository import Repository, load_models
from service.servicers.classifier import SERVICE_NAME as CLASSIFIER
from service.servicers.classifier import ClassifierServicer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_OPTIONS = (
    # Two servers on one port would share its callers unasked; the second one must fail instead.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)
_STREAMS_END_S = 0.5  # what health watchers and reflection get after the last answer
_QUIET_S = 0.05  # without a call, before the port is closed
_QUIET_AT_MOST_S = 1.0  # and how long callers that never pause can put it off
_Result = TypeVar("_Result")
_log = structlog.get_logger(__name__)


class Ending(Enum):
    """How a server came to its end."""

    GRACEFUL = "every admitted call was answered"
    CUT_OFF = "the grace period passed first; a thread may still be at work"
    WHILE_LOADING = "it was stopped before it served; a thread may still be at work"


async def serve(config: ServerConfig, on_ready: Callable[[str], None]) -> Ending:
    """Serve until SIGTERM or SIGINT, then finish what is in flight.

    Args:
        config: how to serve.
        on_ready: is told the address ``host:port`` once the server answers.

    Returns:
        How it ended.

    Raises:
        StartupError: the address is taken or the models cannot be loaded; nothing was served.
    """
    stop = _stop_signal()
    rely_on_own_limits()
    _check_address(config.host, config.port)
    repository = Repository()
    admission = Admission(config.max_pending_images)
    classifier = ClassifierServicer(repository, admission, config)
    status = health.aio.HealthServicer()
    server = _make_server(classifier, status)
    try:
        port = server.add_insecure_port(_address(config.host, config.port))
    except RuntimeError as error:
        raise _address_error(config.host, config.port, "gRPC refuses the address") from error
    try:
        await _set_health(status, health_pb2.HealthCheckResponse.NOT_SERVING)
        await server.start()
        models = await _unless(stop, asyncio.to_thread(load_models, config))
        if models is None:
            return Ending.WHILE_LOADING
        repository.open(models, config.default_model, config.max_batch)
        for info in repository.list():
            _log.info("model ready", model=info.name, version=info.version, provider=info.provider)
        await _set_health(status, health_pb2.HealthCheckResponse.SERVING)
        address = _address(config.host, port)
        _log.info("serving", address=address, threads=config.threads, max_batch=config.max_batch)
        on_ready(address)
        await stop.wait()
        return await _drain(server, admission, status, config)
    finally:
        await server.stop(None)
        classifier.close()
        await repository.close()


def _make_server(classifier: ClassifierServicer, status: health.aio.HealthServicer) -> grpc.aio.Server:
    server = grpc.aio.server(options=_OPTIONS)
    classifier.add_to(server)
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    reflection.enable_server_reflection((CLASSIFIER, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    return server


async def _set_health(status: health.aio.HealthServicer, value: int) -> None:
    for service in ("", CLASSIFIER):
        await status.set(service, value)


async def _drain(
    server: grpc.aio.Server,
    admission: Admission,
    status: health.aio.HealthServicer,
    config: ServerConfig,
) -> Ending:
    """Say NOT_SERVING, go on for the drain delay, then refuse new calls and finish the admitted ones.

    gRPC's own shutdown ends calls that it has received and not yet handed over with CANCELLED, which no
    client repeats. So new calls are first answered UNAVAILABLE, which clients do repeat, until hardly any
    come; the shutdown that follows finds none.
    """
    _log.info("stopping", drain_delay_s=config.drain_delay_s, grace_s=config.grace_s)
    await status.enter_graceful_shutdown()
    await asyncio.sleep(config.drain_delay_s)
    admission.close()
    try:
        async with asyncio.timeout(config.grace_s):
            await admission.idle()
        await admission.quiet(_QUIET_S, at_most_s=_QUIET_AT_MOST_S)
    except TimeoutError:
        _log.warning("grace period over", unanswered_images=admission.images)
        await server.stop(None)
        return Ending.CUT_OFF
    await server.stop(_STREAMS_END_S)
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


def _check_address(host: str, port: int) -> None:
    """Bind once for a clear reason; gRPC's own failure names none."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except (OSError, UnicodeError) as error:
        raise _address_error(host, port, getattr(error, "strerror", None) or "it is no host name") from error


def _address_error(host: str, port: int, reason: str) -> AddressError:
    return AddressError(f"cannot listen on {_address(host, port)}: {reason}; choose another --host or --port")


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
