"""The lifecycle of a server process: listen, load, warm up, serve, drain.

Health is NOT_SERVING until the models have answered a warm-up, and again from the stop signal on.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

import structlog

from service.images.decode import disable_pillow_pixel_limit
from service.server.assembly import Assembly
from service.system.listener import format_address, listen
from service.system.malloc import give_back_large_blocks
from service.system.rlimit import raise_open_files_limit
from service.workers.control_client import ControlClient

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    from service.config import ServerConfig
    from service.rpc.server import RpcServer
    from service.servicers.health import HealthServicer
    from service.workers.fd_passing import ConnectionReceiver

_Result = TypeVar("_Result")
_log = structlog.get_logger(__name__)


class Ending(Enum):
    """How a server ended."""

    GRACEFUL = "every admitted call was answered"
    CUT_OFF = "the grace period passed first; a thread may still be at work"
    WHILE_LOADING = "it was stopped before it served; a thread may still be at work"


async def serve(
    config: ServerConfig,
    on_ready: Callable[[str], None],
    receiver: ConnectionReceiver | None = None,
    control: ControlClient | None = None,
) -> Ending:
    """Serve until SIGTERM or SIGINT, then finish the calls in flight.

    Args:
        config: how to serve.
        on_ready: called with the address ``host:port`` once the server answers.
        receiver: hands over connections, for one of several workers; None listens at the address.
        control: reaches the other workers; None for a server of one process.

    Raises:
        StartupError: the address is taken or the models cannot be loaded; nothing was served.
    """
    stop = _stop_signal()
    disable_pillow_pixel_limit()
    give_back_large_blocks()
    raise_open_files_limit(config.max_connections)
    listening = listen(config.host, config.port) if receiver is None else None
    assembly = Assembly(
        config,
        control or ControlClient(),
        is_worker=receiver is not None,
        on_closed=None if receiver is None else receiver.report_connection_closed,
    )
    try:
        await assembly.join()
        if listening is not None:
            await assembly.rpc.listen(listening)
        loaded = await _unless(stop, assembly.load())
        if loaded is None:
            return Ending.WHILE_LOADING
        assembly.open(*loaded)
        # These objects stay: the garbage collector need not visit them again (5% of a call's time).
        gc.collect()
        gc.freeze()
        if listening is not None:
            address = format_address(config.host, listening.getsockname()[1])
            _log.info("serving", address=address, max_batch=config.max_batch)
            on_ready(address)
        elif receiver is not None:
            _open(receiver, assembly.rpc, stop)
        assembly.repository.start_polling(config.watch_s)
        await stop.wait()
        assembly.repository.stop_polling()
        return await _drain(assembly.rpc, assembly.health, config, receiver)
    finally:
        await assembly.close()
        if receiver is not None:
            receiver.close()


def _open(receiver: ConnectionReceiver, server: RpcServer, stop: asyncio.Event) -> None:
    """Accept connections from the supervisor; stop when it is gone."""
    taking: set[asyncio.Task[None]] = set()

    def take(connection: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(server.take(connection))
        taking.add(task)
        task.add_done_callback(taking.discard)

    receiver.open(take, stop.set)
    receiver.report_ready()


async def _drain(
    server: RpcServer, health: HealthServicer, config: ServerConfig, receiver: ConnectionReceiver | None
) -> Ending:
    """Turn health to NOT_SERVING, wait for the drain delay, then refuse new calls and finish the others."""
    _log.info("stopping", drain_delay_s=config.drain_delay_s, grace_s=config.grace_s)
    health.set_not_serving()
    await asyncio.sleep(config.drain_delay_s)
    if receiver is not None:
        receiver.report_stopping()
    if not await server.drain(config.grace_s):
        _log.warning("grace period over", unanswered_calls=server.calls)
        return Ending.CUT_OFF
    _log.info("stopped")
    return Ending.GRACEFUL


async def _unless(stop: asyncio.Event, work: Coroutine[None, None, _Result]) -> _Result | None:
    """Return the result of some work; None if the stop signal comes first."""
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
