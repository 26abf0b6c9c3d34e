"""A certificate authority and a server's files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.config import TlsFiles
from tests.service.security.authority import Authority, replace

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> TlsFiles:
    """Write the files of a server that requires client certificates."""
    cert, key = authority.server().write(tmp_path, "server")
    client_ca, crl = (
        replace(tmp_path / "ca.crt", authority.pem),
        replace(tmp_path / "crl", authority.revoke()),
    )
    return TlsFiles(cert=cert, key=key, client_ca=client_ca, crl=crl)
