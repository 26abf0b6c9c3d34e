"""Runs a server in this process, or its supervisor, and ends the process with it.

In: a configuration. Out: an exit code. Imports what each needs when it runs: a supervisor stays small.
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
    """Keep worker processes at work; ends this process with their exit code."""
    from service.workers.supervisor import supervise  # noqa: PLC0415 - needed by this command alone

    # A worker is this very command, told apart by the receiver in its environment.
    command = [sys.executable, *sys.orig_argv[1:]]
    sys.exit(asyncio.run(supervise(config, command, on_ready)))


def run_alone(
    config: ServerConfig,
    on_ready: Callable[[str], None],
    door_fd: int | None = None,
    intercom_fd: int | None = None,
) -> None:
    """Serve in this process, which is a worker if it has a receiver.

    It ends here and now if a thread may still be at work.
    """
    from service.server.lifecycle import Ending  # noqa: PLC0415
    from service.server.lifecycle import serve as serve_forever  # noqa: PLC0415
    from service.workers.control_client import ControlClient  # noqa: PLC0415
    from service.workers.fd_passing import ConnectionReceiver  # noqa: PLC0415 - needed by this command alone

    with asyncio.Runner(loop_factory=_new_event_loop()) as runner:
        receiver = None if door_fd is None else ConnectionReceiver(door_fd)
        ending = runner.run(serve_forever(config, on_ready, receiver, ControlClient(intercom_fd)))
        if ending is not Ending.GRACEFUL:
            # A thread that is stuck in a model would hold the interpreter's ordinary end up for ever.
            sys.stdout.flush()
            os._exit(_FAILED if ending is Ending.CUT_OFF else 0)


def _new_event_loop() -> Any:  # noqa: ANN401 - uvloop's and asyncio's loops share no exported type
    """Use uvloop where it exists: every system but Windows."""
    try:
        import uvloop  # noqa: PLC0415 - it is not installed on Windows
    except ImportError:
        return None
    return uvloop.new_event_loop
