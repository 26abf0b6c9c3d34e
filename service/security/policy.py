"""Applies the security settings: TLS, client certificates and API keys, reloaded when their files change."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import structlog

from service.errors import CertificateError
from service.security.api_keys import load_api_keys
from service.security.authorization import Authorizer
from service.security.certificates import check_as_client, load_context
from service.security.credential_files import read
from service.security.file_watcher import POLL_INTERVAL_S, FileWatcher
from service.security.tls import TlsConnection

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping

    from service.config import SecurityConfig, TlsFiles
    from service.security.api_keys import ApiKeys
    from service.security.tls import InnerProtocol

_log = structlog.get_logger(__name__)


class ProtectedServer(Protocol):
    """The server that enforces the policy."""

    def recheck_calls(self) -> None:
        """End the streaming calls that are no longer admitted."""

    def ask_to_reconnect(self) -> None:
        """Ask every client to reconnect."""


@dataclass(frozen=True)
class _Credentials:
    context: ssl.SSLContext
    trust: bytes
    """Digest of the CA and CRL files, which decide which client certificates are valid."""


class SecurityPolicy:
    """Encrypts connections and authorizes calls."""

    def __init__(self, config: SecurityConfig, always_open: Iterable[str]) -> None:
        """Load the configured files, or raise StartupError; ``always_open`` services never need a key."""
        self._credentials: FileWatcher[_Credentials] | None = None
        self._keys: FileWatcher[ApiKeys] | None = None
        self._authorizer: Authorizer | None = None
        if (tls := config.tls) is not None:
            self._credentials = FileWatcher("certificates", tls.paths, lambda: _load_credentials(tls))
        if (path := config.api_keys) is not None:
            self._keys = keys = FileWatcher("API keys", [path], lambda: load_api_keys(path))
            self._authorizer = Authorizer(lambda: keys.value, {*always_open, *config.open_services})

    def wrap(self, connection: InnerProtocol) -> asyncio.BaseProtocol:
        """Return the protocol for a connection's socket: the connection itself, or TLS around it."""
        if self._credentials is None:
            return cast("asyncio.BaseProtocol", connection)
        return TlsConnection(connection, self._credentials.value.context)

    def admit(self, path: str, metadata: Mapping[bytes, bytes]) -> None:
        """Admit a call. Raises as ``Authorizer.admit``."""
        if self._authorizer is not None:
            self._authorizer.admit(path, metadata)

    def reload(self) -> None:
        """Reload all files now, changed or not."""
        if self._credentials is not None:
            self._credentials.reload()
        if self._keys is not None:
            self._keys.reload()

    async def follow(self, server: ProtectedServer) -> None:
        """Apply changed files and expired keys to the server, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self._credentials is not None:
                tasks.create_task(_follow_credentials(self._credentials, server))
            if self._keys is not None:
                tasks.create_task(self._keys.follow(server.recheck_calls))
                tasks.create_task(_follow_expiry(self._keys, server))


async def _follow_credentials(credentials: FileWatcher[_Credentials], server: ProtectedServer) -> None:
    trust = credentials.value.trust

    def on_change() -> None:
        nonlocal trust
        if credentials.value.trust != trust:
            trust = credentials.value.trust
            server.ask_to_reconnect()  # a connected client may no longer be trusted

    await credentials.follow(on_change)


async def _follow_expiry(keys: FileWatcher[ApiKeys], server: ProtectedServer) -> None:
    while True:
        next_s = keys.value.next_expiry_s()
        await asyncio.sleep(POLL_INTERVAL_S)
        if time.time() >= next_s:
            server.recheck_calls()


def _load_credentials(files: TlsFiles) -> _Credentials:
    # The digest comes first: if files change before the context is made, the next poll finds another digest.
    trust = _digest_of_trust(files)
    context = load_context(files)
    check = check_as_client(context, files.cert)
    if check.problem is not None:
        _log.warning("clients will refuse the certificate", reason=check.problem, cert=str(files.cert))
    else:
        _log.info("certificate loaded", cert=str(files.cert), expires=check.expires)
    return _Credentials(context, trust)


def _digest_of_trust(files: TlsFiles) -> bytes:
    digest = hashlib.sha256()
    for path in (files.client_ca, files.crl):
        digest.update(b"" if path is None else read(path, CertificateError))
    return digest.digest()
