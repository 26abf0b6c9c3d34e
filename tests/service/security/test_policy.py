"""Clients that are no longer trusted are disconnected."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from service.config import SecurityConfig
from service.security import file_watcher
from service.security import policy as protection
from service.security.certificates import load_context
from service.security.policy import SecurityPolicy
from tests.service.in_process import until
from tests.service.security.authority import Authority, replace

if TYPE_CHECKING:
    import ssl

    import pytest

    from service.config import TlsFiles


class _Server:
    """Counts requests to reconnect."""

    def __init__(self) -> None:
        self.reconnects = 0

    def recheck_calls(self) -> None:
        raise AssertionError

    def ask_to_reconnect(self) -> None:
        self.reconnects += 1


def test_clients_reconnect_even_if_one_is_revoked_while_files_are_read(
    files: TlsFiles, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoking = iter([authority.revoke(authority.client())])

    def load_slowly(files: TlsFiles) -> ssl.SSLContext:
        context = load_context(files)
        for pem in revoking:
            replace(files.crl, pem)  # type: ignore[arg-type] # it is given
        return context

    monkeypatch.setattr(protection, "load_context", load_slowly)
    monkeypatch.setattr(file_watcher, "POLL_INTERVAL_S", 0.005)

    async def scenario() -> None:
        server, made = _Server(), SecurityPolicy(SecurityConfig(tls=files), ())
        following = asyncio.create_task(made.follow(server))
        await until(lambda: server.reconnects)
        following.cancel()

    asyncio.run(scenario())
