"""A real server with shared memory enabled, and its stub."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from service.server.spawn import ServerProcess
from tests.inference_stub import InferenceStub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="package")
def address(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run two workers, so that state that they must share is tested."""
    log = tmp_path_factory.mktemp("log") / "server.log"
    flags = ("--workers", "2", "--instances", "1", "--shared-memory")
    process = ServerProcess("--models", str(repository), *flags, log=log)
    process.start()
    yield process.address
    assert process.stop() == 0
    assert "call failed" not in log.read_text()


@pytest.fixture(scope="package")
def channel(address: str) -> Iterator[grpc.Channel]:
    limits = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(address, options=limits) as channel:
        yield channel


@pytest.fixture(scope="package")
def stub(channel: grpc.Channel) -> InferenceStub:
    return InferenceStub(channel)
