"""The server's life: listen, load, warm up, serve, drain.

Health says NOT_SERVING until every model has answered a warm-up, and again from the first sign of a stop.
Knows nothing of requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

import structlog

from service.admission import Admission
from service.config import MAX_MESSAGE_BYTES, ServerConfig
from service.errors import AddressError
from service.images import rely_on_own_limits
from service.repository import Repository, load_models
from service.rpc.server import RpcLimits, RpcServer
from service.servicers.classifier import SERVICE_NAME as CLASSIFIER
from service.servicers.classifier import ClassifierServicer
from service.servicers.decoding import Decoder
from service.servicers.health import SERVICE_NAME as HEALTH
from service.servicers.health import HealthServicer
from service.servicers.reflection import Reflection

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

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
    listener = _listen(config.host, config.port)
    repository = Repository()
    decoder = Decoder(config.decode_threads, config.limits)
    classifier = ClassifierServicer(repository, Admission(config.max_pending_images), decoder)
    health = HealthServicer((CLASSIFIER,))
    reflection = Reflection((CLASSIFIER, HEALTH))
    server = RpcServer(
        (*classifier.methods(), *health.methods(), *reflection.methods()),
        RpcLimits(
            max_message_bytes=MAX_MESSAGE_BYTES,
            max_held_bytes=config.max_pending_mib << 20,
            max_connections=config.max_connections,
        ),
    )
    try:
        await server.listen(listener)
        models = await _unless(stop, asyncio.to_thread(load_models, config))
        if models is None:
            return Ending.WHILE_LOADING
        repository.open(models, config)
        for info in repository.list():
            _log.info("model ready", model=info.name, version=info.version, provider=info.provider)
        health.set_serving(info.provider for info in repository.list())
        address = _address(config.host, listener.getsockname()[1])
        _log.info("serving", address=address, max_batch=config.max_batch)
        on_ready(address)
        await stop.wait()
        return await _drain(server, health, config)
    finally:
        await server.close()
        decoder.close()
        await repository.close()


async def _drain(server: RpcServer, health: HealthServicer, config: ServerConfig) -> Ending:
    """Say NOT_SERVING, go on for the drain delay, then refuse new calls and finish the admitted ones."""
    _log.info("stopping", drain_delay_s=config.drain_delay_s, grace_s=config.grace_s)
    health.set_not_serving()
    await asyncio.sleep(config.drain_delay_s)
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


def usable_cpus() -> int:
    """CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _listen(host: str, port: int) -> socket.socket:
    """Bind, without SO_REUSEPORT: two servers on one port would share its callers unasked."""
    with contextlib.ExitStack() as undo:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = undo.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no host name"
            raise AddressError(
                f"cannot listen on {_address(host, port)}: {reason}; choose another --host or --port"
            ) from error
        undo.pop_all()
        return listener


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
