"""Runs a server or a supervisor until it ends, and exits with its code.

Each imports what it needs when it runs, so that a supervisor stays small.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.config import ServerConfig

_FAILED = 1


def supervise_workers(config: ServerConfig, on_ready: Callable[[str], None]) -> None:
    """Run worker processes; exits with their exit code."""
    from service.workers.supervisor import supervise  # noqa: PLC0415 - needed by this command alone

    # A worker runs this same command; the descriptors in its environment make it a worker.
    command = [sys.executable, *sys.orig_argv[1:]]
    sys.exit(asyncio.run(supervise(config, command, on_ready)))


def run_alone(
    config: ServerConfig,
    on_ready: Callable[[str], None],
    connections_fd: int | None = None,
    control_fd: int | None = None,
) -> None:
    """Serve in this process, which is a worker if it has a receiver.

    Exits at once where a thread may still be running a model.
    """
    from service.server.lifecycle import Ending  # noqa: PLC0415
    from service.server.lifecycle import serve as serve_forever  # noqa: PLC0415
    from service.workers.control_client import ControlClient  # noqa: PLC0415
    from service.workers.fd_passing import ConnectionReceiver  # noqa: PLC0415 - needed by this command alone

    with asyncio.Runner(loop_factory=_new_event_loop()) as runner:
        receiver = None if connections_fd is None else ConnectionReceiver(connections_fd)
        ending = runner.run(serve_forever(config, on_ready, receiver, ControlClient(control_fd)))
        if ending is not Ending.GRACEFUL:
            # A thread that is stuck in a model would keep the interpreter from exiting.
            sys.stdout.flush()
            os._exit(_FAILED if ending is Ending.CUT_OFF else 0)


def _new_event_loop() -> Any:  # noqa: ANN401 - uvloop's and asyncio's loops share no exported type
    """Use uvloop where it exists: every system but Windows."""
    try:
        import uvloop  # noqa: PLC0415 - not installed on Windows
    except ImportError:
        return None
    return uvloop.new_event_loop
