"""All that stands between clients and the server, as its settings say: encryption, certificates, keys.

In: settings. Out: what an RpcServer asks of its protection, and what it is told when the files behind it have
changed. Knows nothing of HTTP/2 or gRPC.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import structlog

from service.errors import CertificateError
from service.security.api_keys import load_keys
from service.security.authorization import Guard
from service.security.certificates import load_context, opinion_of
from service.security.file_watcher import EVERY_S, Watched
from service.security.pem_files import read
from service.security.tls import TlsConnection

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping

    from service.config import SecurityConfig, TlsFiles
    from service.security.api_keys import Keys
    from service.security.tls import Inner

_log = structlog.get_logger(__name__)


class Protected(Protocol):
    """What has to act when other clients are let in than before."""

    def admit_again(self) -> None:
        """End calls that would not be admitted any more."""

    def part(self) -> None:
        """Ask every client to connect anew."""


@dataclass(frozen=True)
class _Credentials:
    context: ssl.SSLContext
    trust: bytes
    """A digest of what decides which client certificates are good."""


class Protection:
    """Encrypts connections and admits calls."""

    def __init__(self, config: SecurityConfig, always_open: Iterable[str]) -> None:
        """Load what the settings name.

        Args:
            config: the settings.
            always_open: services that never need a key.

        Raises:
            StartupError: a file is missing, damaged or no match.
        """
        self._credentials: Watched[_Credentials] | None = None
        self._keys: Watched[Keys] | None = None
        self._guard: Guard | None = None
        self._at_once: list[asyncio.Event] = []
        if (tls := config.tls) is not None:
            self._credentials = Watched("certificates", tls.paths, lambda: _load_credentials(tls))
        if (path := config.api_keys) is not None:
            self._keys = keys = Watched("API keys", [path], lambda: load_keys(path))
            self._guard = Guard(lambda: keys.value, {*always_open, *config.open_services})

    def wrap(self, connection: Inner) -> asyncio.BaseProtocol:
        """Return what a connection's socket talks to."""
        if self._credentials is None:
            return cast("asyncio.BaseProtocol", connection)
        return TlsConnection(connection, self._credentials.value.context)

    def admit(self, path: str, metadata: Mapping[bytes, bytes]) -> None:
        """Let a call pass. Raises as ``Guard.admit``."""
        if self._guard is not None:
            self._guard.admit(path, metadata)

    def reload(self) -> None:
        """Read the files anew now, changed or not."""
        for event in self._at_once:
            event.set()

    async def follow(self, server: Protected) -> None:
        """Have the server go by the files as they change, and by the time as keys expire, without end."""
        async with asyncio.TaskGroup() as tasks:
            if self._credentials is not None:
                tasks.create_task(self._follow_credentials(self._credentials, server))
            if self._keys is not None:
                tasks.create_task(self._keys.follow(server.admit_again, self._event()))
                tasks.create_task(_follow_expiry(self._keys, server))

    def _event(self) -> asyncio.Event:
        self._at_once.append(asyncio.Event())
        return self._at_once[-1]

    async def _follow_credentials(self, credentials: Watched[_Credentials], server: Protected) -> None:
        trust = credentials.value.trust

        def on_change() -> None:
            nonlocal trust
            if credentials.value.trust != trust:
                trust = credentials.value.trust
                server.part()  # who is connected may be one who is not let in any more

        await credentials.follow(on_change, self._event())


async def _follow_expiry(keys: Watched[Keys], server: Protected) -> None:
    while True:
        next_s = keys.value.next_expiry_s()
        await asyncio.sleep(EVERY_S)
        if time.time() >= next_s:
            server.admit_again()


def _load_credentials(files: TlsFiles) -> _Credentials:
    # Before the context is made of them: files that change in between are then found to have changed, by the
    # next look, and by this digest.
    trust = _digest_of_trust(files)
    context = load_context(files)
    opinion = opinion_of(context, files.cert)
    if opinion.objection is not None:
        _log.warning("clients will refuse the certificate", reason=opinion.objection, cert=str(files.cert))
    else:
        _log.info("certificate loaded", cert=str(files.cert), expires=opinion.expires)
    return _Credentials(context, trust)


def _digest_of_trust(files: TlsFiles) -> bytes:
    digest = hashlib.sha256()
    for path in (files.client_ca, files.crl):
        digest.update(b"" if path is None else read(path, CertificateError))
    return digest.digest()
