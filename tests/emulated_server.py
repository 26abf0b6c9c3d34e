"""A whole server and its client in one process, since the emulator does not emulate child processes.

Arguments: a repository of models, and pictures. Prints a JSON object: the three most likely classes of each
picture by each model.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from cifar10net import Client
from cifar10net.config import ClientConfig
from service.config import ServerConfig
from service.server.lifecycle import serve

_PATIENCE_S = 240.0  # an emulated processor takes a hundred times as long as a real one


def _ask(address: str, pictures: list[Path]) -> dict[str, dict[str, list[str]]]:
    with Client(address, ClientConfig(deadline_s=_PATIENCE_S)) as client:
        return {
            model.name: {
                path.name: [each.label for each in result.classes]
                for path, result in zip(pictures, client.classify(pictures, model=model.name), strict=True)
            }
            for model in client.models()
        }


async def main() -> None:
    """Serve, ask, and stop as an operator does."""
    models, *pictures = map(Path, sys.argv[1:])
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(ServerConfig(models=models, port=0, max_batch=4), ready.set_result))
    serving.add_done_callback(lambda _task: ready.done() or ready.cancel())  # it did not start
    told = await asyncio.to_thread(_ask, await ready, pictures)
    os.kill(os.getpid(), signal.SIGTERM)
    told["ending"] = {(await serving).name: []}
    print(json.dumps(told))  # noqa: T201 - for the test


if __name__ == "__main__":
    asyncio.run(main())
