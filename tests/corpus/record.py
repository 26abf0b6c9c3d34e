"""``python -m tests.corpus.record``: ask a server what is not in the corpus yet, and keep what it answers.

What is there already stays as it is: to record it anew would be to forget what older clients were promised.
"""

from __future__ import annotations

from pathlib import Path

import grpc
from google.protobuf import descriptor_pool

from service.server.spawn import ServerProcess
from tests.corpus.exchange import Exchange, ask
from tests.corpus.requests import wanted

HERE = Path(__file__).parent
EXCHANGES = HERE / "exchanges"
OPTIONS = ("--models", str(HERE / "models"), "--threads", "1")


def record() -> None:
    """Record what is missing."""
    with ServerProcess(*OPTIONS) as server, grpc.insecure_channel(server.address) as channel:
        for name, (method, requests) in wanted().items():
            path = EXCHANGES / f"{name}.jsonl"
            if not path.exists():
                is_stream = _is_stream(method)
                status, answers = ask(channel, method, requests, is_stream=is_stream)
                Exchange(method, is_stream, requests, status, answers).write(path)


def _is_stream(path: str) -> bool:
    service, _, method = path[1:].rpartition("/")
    found = descriptor_pool.Default().FindServiceByName(service).methods_by_name[method]
    return bool(found.client_streaming)


if __name__ == "__main__":
    record()
