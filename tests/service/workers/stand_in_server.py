"""Runs the supervisor as ``cifar10net serve`` does, over stand-in workers: folder, workers, port, grace_s."""

from __future__ import annotations

import asyncio
import sys

from service.config import ServerConfig
from service.errors import StartupError
from service.observability.logs import configure
from service.workers import supervisor


def main(folder: str, workers: str, port: str, grace_s: str) -> int:
    configure("json", "info")
    supervisor._MARGIN_S = 0.0
    config = ServerConfig(workers=int(workers), port=int(port), grace_s=float(grace_s))
    command = [sys.executable, "-m", "tests.service.workers.stand_in_worker", folder]
    return asyncio.run(
        supervisor.supervise(config, command, lambda address: print(address, flush=True))  # noqa: T201
    )


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except StartupError as error:
        sys.exit(f"error: {error}")
