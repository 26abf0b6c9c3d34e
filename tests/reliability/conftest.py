"""Servers, images and accounts for the tests here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from tests.reliability.account import ROW, Account
from tests.reliability.pictures import Pictures
from tests.reliability.servers import Server
from tests.service.colours import colour_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cifar10net.config import Access

LABOUR = 20
"""Steps of the model ``slow``: about 0.25 ms an image."""
OTHER_SCALE = 64.0


class Start(Protocol):
    """Starts a server, with the model ``colours`` by default."""

    def __call__(
        self, *arguments: object, model: str = "colours", port: int = 0, access: Access | None = None
    ) -> Server:
        """Start it and wait until it serves."""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository of three models.

    ``colours``, ``slow``, which says the same, and ``pale``, which says something else of each image.
    """
    root = tmp_path_factory.mktemp("repository")
    contents = {
        "colours": colour_model(),
        "slow": colour_model(labour=LABOUR),
        "pale": colour_model(scale=OTHER_SCALE),
    }
    for name, content in contents.items():
        (root / name / "1").mkdir(parents=True)
        (root / name / "1" / "model.onnx").write_bytes(content)
    return root


@pytest.fixture
def start(models: Path, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a server; in the end none is left, and no log shows a fault of theirs."""
    servers: list[Server] = []

    def start(
        *arguments: object, model: str = "colours", port: int = 0, access: Access | None = None
    ) -> Server:
        log = tmp_path / f"log-{len(servers)}"
        server = Server(
            log, "--models", models, "--default-model", model, *arguments, port=port, access=access
        )
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.clean_up()
    for server in servers:
        assert not server.events("call failed")  # and every line is JSON: no stray traceback


@pytest.fixture(scope="session")
def pictures() -> Pictures:
    return Pictures()


@pytest.fixture
def account(request: pytest.FixtureRequest) -> Iterator[Account]:
    """Keep account of a test's calls: none may be unaccounted for, and none lost."""
    account = Account()
    yield account
    request.node.user_properties.append((ROW, account.row()))
    assert account.losses == []
    assert account.is_complete
