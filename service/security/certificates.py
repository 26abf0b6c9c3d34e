"""Builds the server's SSL context from PEM files, and checks its certificate as a client would."""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import CertificateError
from service.security.credential_files import read
from service.security.tls import APPLICATION_PROTOCOL

if TYPE_CHECKING:
    from pathlib import Path

    from service.config import TlsFiles

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secrecy and authenticated encryption, none that RFC 9113 (appendix A) forbids."""

_MISMATCHES = {"KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
"""OpenSSL's reasons; the second one where key and certificate have different types."""


def load_context(files: TlsFiles) -> ssl.SSLContext:
    """Make a server context for TLS 1.2 and 1.3.

    TLS 1.3 clients get no session tickets, so each presents its certificate on every connection; TLS 1.2
    clients can resume a session for at most two hours, and only within this context.

    Raises:
        CertificateError: a file is missing or damaged, or key and certificate do not match.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols([APPLICATION_PROTOCOL])
    _load_own(context, files)
    if files.client_ca is not None:
        _load(context, files.client_ca)
        if not context.cert_store_stats()["x509"]:
            raise CertificateError(f"{files.client_ca} has no CA certificate")
        context.verify_mode = ssl.CERT_REQUIRED
    if files.crl is not None:
        _load(context, files.crl)
        if not context.cert_store_stats()["crl"]:
            raise CertificateError(f"{files.crl} has no certificate revocation list (CRL)")
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def _load_own(context: ssl.SSLContext, files: TlsFiles) -> None:
    read(files.cert, CertificateError)
    read(files.key, CertificateError, is_secret=True)
    try:
        # Without a password, OpenSSL would prompt for one at the terminal.
        context.load_cert_chain(files.cert, files.key, password="")
    except OSError as error:
        if getattr(error, "reason", None) in _MISMATCHES:
            message = f"the key in {files.key} does not match the certificate in {files.cert}"
        else:
            message = (
                f"{files.cert} and {files.key} are not a certificate and its key ({_reason(error)}); "
                "wanted both as PEM, the key without passphrase"
            )
        raise CertificateError(message) from error


def _load(context: ssl.SSLContext, path: Path) -> None:
    read(path, CertificateError)
    try:
        context.load_verify_locations(path)
    except OSError as error:
        raise CertificateError(f"{path} cannot be read as PEM ({_reason(error)})") from error


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", None) or "damaged").lower().replace("_", " ")


@dataclass(frozen=True)
class CertificateCheck:
    """What a client that trusts the issuer finds in a server's certificate."""

    problem: str | None
    """Why the client would refuse it, such as "certificate has expired"."""
    expires: str | None
    """Expiry in words; None with a problem."""


def check_as_client(context: ssl.SSLContext, cert: Path) -> CertificateCheck:
    """Perform a handshake in memory with a client that trusts the certificate file ``cert``."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client_context.load_verify_locations(cert)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server)
    try:
        for side in (client, server, client):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    except ssl.SSLCertVerificationError as error:
        return CertificateCheck(error.verify_message, None)
    except ssl.SSLError as error:
        return CertificateCheck(_reason(error), None)
    return CertificateCheck(None, str((client.getpeercert() or {}).get("notAfter")))
