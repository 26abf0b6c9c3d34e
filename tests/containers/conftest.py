"""The engine, the stack, and containers that are gone after a test."""

from __future__ import annotations

import os
import time
import uuid
from typing import TYPE_CHECKING, Protocol

import pytest

from service.server.health_check import check_health
from tests.containers.engine import SERVICES, Engine, find

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = "127.0.0.1:50051"
BALANCER = "127.0.0.1:50052"
TLS = "localhost:50054"
START_S = 60.0
SERVER_IMAGE = "cifar10net-server:latest"
HARDENED = (
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--tmpfs=/tmp:size=16m,mode=1777",
)


class Start(Protocol):
    """Starts a container of the server's image."""

    def __call__(self, *options: str, image: str = SERVER_IMAGE, command: tuple[str, ...] = ()) -> str:
        """Start it in the background. Returns its name."""


@pytest.fixture(scope="session")
def engine() -> Engine:
    """Return the engine; skip if there is none, or if these tests were not selected."""
    if not os.environ.get("CIFAR10NET_CONTAINERS"):
        pytest.skip("these tests build images and take minutes: `make container-test` runs them")
    found = find()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(scope="session")
def stack(engine: Engine) -> Iterator[Engine]:
    """Have the images built and the stack up; take it down in the end, unless it was up before."""
    was_up = bool(engine.compose("ps", "--quiet").split())
    if not was_up:
        engine.compose("build")
    engine.compose("up", "--detach", "--wait", "--wait-timeout", "120", *SERVICES)
    yield engine
    if not was_up:
        engine.compose("down", "--volumes", "--timeout", "30")


@pytest.fixture
def start(stack: Engine) -> Iterator[Start]:
    """Return a function that starts containers, which are gone in the end."""
    names: list[str] = []

    def start(*options: str, image: str = SERVER_IMAGE, command: tuple[str, ...] = ()) -> str:
        name = f"cifar10net-test-{uuid.uuid4().hex[:8]}"
        names.append(name)
        stack("run", "--detach", f"--name={name}", *HARDENED, *options, image, *command)
        return name

    yield start
    for name in names:
        stack("rm", "--force", "--volumes", name)


def serves(address: str) -> bool:
    """Wait until a server answers SERVING; say whether it has within a minute."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if check_health(address, START_S) == "SERVING":
            return True
    return False
