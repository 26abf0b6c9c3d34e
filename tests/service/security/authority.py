"""A certificate authority that signs certificates for an hour."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

_HOUR = dt.timedelta(hours=1)
EXPIRED = -_HOUR
_LOOPBACK = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]


@dataclass(frozen=True)
class Identity:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @cached_property
    def cert_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @cached_property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write ``name.crt`` and ``name.key``; each is replaced whole."""
        return replace(folder / f"{name}.crt", self.cert_pem), replace(folder / f"{name}.key", self.key_pem)


def replace(path: Path, content: bytes) -> Path:
    """Replace a file by one rename; only its owner can read the new one."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.chmod(0o600)
    return new.rename(path)


class Authority:
    """Signs certificates."""

    def __init__(self, name: str = "authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            _certificate(self._name, self._name, self._key.public_key(), _HOUR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def server(self, lifetime: dt.timedelta = _HOUR) -> Identity:
        """Sign a certificate for a server of this machine; one with a negative lifetime has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder("server", key, lifetime, ExtendedKeyUsageOID.SERVER_AUTH)
        names = x509.SubjectAlternativeName(_LOOPBACK)
        return Identity(builder.add_extension(names, critical=False).sign(self._key, hashes.SHA256()), key)

    def client(self, name: str = "client", lifetime: dt.timedelta = _HOUR) -> Identity:
        """Sign a certificate for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(name, key, lifetime, ExtendedKeyUsageOID.CLIENT_AUTH)
        return Identity(builder.sign(self._key, hashes.SHA256()), key)

    def revoke(self, *identities: Identity) -> bytes:
        """Make a certificate revocation list."""
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(now - _HOUR)
            .next_update(now + _HOUR)
        )
        for identity in identities:
            serial_number = identity.certificate.serial_number
            revoked = x509.RevokedCertificateBuilder().serial_number(serial_number).revocation_date(now)
            builder = builder.add_revoked_certificate(revoked.build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _builder(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        lifetime: dt.timedelta,
        usage: x509.ObjectIdentifier,
    ) -> x509.CertificateBuilder:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return (
            _certificate(subject, self._name, key.public_key(), lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    lifetime: dt.timedelta,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * _HOUR)
        .not_valid_after(now + lifetime)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
