"""Servers, images and accounts for the tests here, and the table of all accounts at the end of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from tests.reliability.account import TITLES, Account
from tests.reliability.pictures import Pictures
from tests.reliability.servers import Server
from tests.service.colours import colour_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.config import Access

_ACCOUNTS = pytest.StashKey[list[tuple[str, Account]]]()
LABOUR = 20
"""Steps of the model ``slow``: about 0.25 ms an image."""
OTHER_SCALE = 64.0


class Start(Protocol):
    """Starts a server that answers with ``colours`` unless it is told another model."""

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
    request.config.stash.setdefault(_ACCOUNTS, []).append((request.node.name, account))
    assert account.losses == []
    assert account.is_complete


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the accounts."""
    accounts = config.stash.get(_ACCOUNTS, [])
    if not accounts:
        return
    width = max(len(name) for name, _ in accounts)
    terminalreporter.section("calls")
    terminalreporter.line(" " * width + TITLES)
    for name, account in accounts:
        terminalreporter.line(name.ljust(width) + account.row())
