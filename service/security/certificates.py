"""What the server shows its clients and demands of them, as an SSL context that works.

In: paths of PEM files. Out: a context, and what a client would say of its certificate. Knows nothing of
connections or of when the files change.
"""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import CertificateError
from service.security.pem_files import read
from service.security.tls import APPLICATION_PROTOCOL

if TYPE_CHECKING:
    from pathlib import Path

    from service.config import TlsFiles

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption, so none that RFC 9113 (appendix A) forbids."""

_MISMATCHES = {"KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
"""The latter where key and certificate are not even of one kind."""


def load_context(files: TlsFiles) -> ssl.SSLContext:
    """Make a context for the server's side of handshakes.

    TLS 1.2 and 1.3. Clients of 1.3 get no tickets, so that each shows its certificate whenever it connects;
    those of 1.2 may resume a session for two hours at most, and never beyond this context.

    Raises:
        CertificateError: a file is missing or damaged, or they do not fit together.
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
            raise CertificateError(f"{files.client_ca} has no certificate of an authority")
        context.verify_mode = ssl.CERT_REQUIRED
    if files.crl is not None:
        _load(context, files.crl)
        if not context.cert_store_stats()["crl"]:
            raise CertificateError(f"{files.crl} has no list of revoked certificates")
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def _load_own(context: ssl.SSLContext, files: TlsFiles) -> None:
    read(files.cert, CertificateError)
    read(files.key, CertificateError, is_secret=True)
    try:
        # With a passphrase given, OpenSSL does not ask for one at the terminal.
        context.load_cert_chain(files.cert, files.key, password="")
    except OSError as error:
        if getattr(error, "reason", None) in _MISMATCHES:
            message = f"the key in {files.key} is not that of the certificate in {files.cert}"
        else:
            message = (
                f"{files.cert} and {files.key} are no certificate and its key ({_reason(error)}); "
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
class Opinion:
    """What a client that trusts its issuer would say of a server's certificate."""

    objection: str | None
    """Why it would refuse it, such as that it has expired."""
    expires: str | None
    """When it will, in words."""


def opinion_of(context: ssl.SSLContext, cert: Path) -> Opinion:
    """Show a server's certificate, which is in the file ``cert`` too, to a client within this process."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trusting.load_verify_locations(cert)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = trusting.wrap_bio(to_client, to_server)
    try:
        for side in (client, server, client):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    except ssl.SSLCertVerificationError as error:
        return Opinion(error.verify_message, None)
    except ssl.SSLError as error:
        return Opinion(_reason(error), None)
    return Opinion(None, str((client.getpeercert() or {}).get("notAfter")))
