"""Serves the page over HTTP until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

import structlog
import uvicorn

from service.system.listener import format_address, is_loopback, listen
from service.web.app import make_app

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from service.web.backend import Backend
    from service.web.settings import WebConfig

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BACKLOG = 256
_log = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    """Calls ``on_ready`` once it listens, and leaves signals to its caller."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    def stop(self) -> None:
        """Finish the requests under way, then end."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    config: WebConfig, make_backend: Callable[[], Backend], on_ready: Callable[[str], None]
) -> None:
    """Serve the page.

    Args:
        config: address and limits.
        make_backend: called within the event loop.
        on_ready: called with the page's URL once it answers.

    Raises:
        AddressError: the address cannot be listened on.
        StartupError, JobError: the backend could not be made.
    """
    listening = listen(config.host, config.port)
    if not is_loopback(config.host):
        _log.warning(
            "others can reach the page",
            host=config.host,
            wanted="a proxy in front that encrypts and authenticates",
        )
    address = format_address(config.host, listening.getsockname()[1])
    server = _Server(
        uvicorn.Config(
            make_app(config, make_backend()),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # or clients could choose the address that their rate is counted by
            ws="none",
            lifespan="on",
            backlog=_BACKLOG,
            timeout_graceful_shutdown=round(config.grace_s),
        ),
        lambda: on_ready(f"http://{address}/"),
    )
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, server.stop)
    await server.serve([listening])
