"""Files become a context, or an error of one sentence that names the file."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from structlog.testing import capture_logs

from cifar10net.errors import ConfigError
from service.config import TlsFiles
from service.errors import CertificateError
from service.security.certificates import check_as_client, load_context
from tests.service.security.authority import EXPIRED, replace

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.security.authority import Authority


def _problem(files: TlsFiles) -> str:
    with pytest.raises(CertificateError) as caught:
        load_context(files)
    return str(caught.value)


def test_a_file_that_is_missing_is_named(files: TlsFiles) -> None:
    for path in files.paths:
        content = path.read_bytes()
        path.unlink()
        assert _problem(files) == f"{path} cannot be read: No such file or directory"
        replace(path, content)

    load_context(files)


def test_files_that_are_something_else_are_named(files: TlsFiles) -> None:
    assert files.client_ca is not None
    assert files.crl is not None
    for path in files.paths:
        content = path.read_bytes()
        for other in (b"", b"no PEM\n", content[: len(content) // 2]):
            replace(path, other)
            assert str(path) in _problem(files)
        replace(path, content)

    files.crl.write_bytes(files.client_ca.read_bytes())
    assert _problem(files) == f"{files.crl} has no certificate revocation list (CRL)"
    files.client_ca.write_bytes(b"")
    assert str(files.client_ca) in _problem(files)


def test_a_list_of_revoked_certificates_is_no_authority(files: TlsFiles) -> None:
    assert files.client_ca is not None
    assert files.crl is not None
    replace(files.client_ca, files.crl.read_bytes())

    assert _problem(files) == f"{files.client_ca} has no CA certificate"
    with pytest.raises(ConfigError, match="needs the authorities"):
        TlsFiles(cert=files.cert, key=files.key, crl=files.crl)


def test_a_key_of_another_certificate_is_no_match(files: TlsFiles, authority: Authority) -> None:
    replace(files.key, authority.server().key_pem)

    assert _problem(files) == f"the key in {files.key} does not match the certificate in {files.cert}"


def test_nobody_is_asked_for_a_passphrase(files: TlsFiles, authority: Authority) -> None:
    identity = authority.server()
    replace(files.cert, identity.cert_pem)
    secret = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open"))
    replace(files.key, secret)

    assert "the key without passphrase" in _problem(files)


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 1), (0o604, 1)])
def test_a_key_that_others_can_read_is_warned_of(files: TlsFiles, mode: int, warnings: int) -> None:
    files.key.chmod(mode)

    with capture_logs() as lines:
        load_context(files)

    assert [line["path"] for line in lines] == [str(files.key)] * warnings


def test_what_a_client_would_object_to_is_found_before_one_comes(
    files: TlsFiles, authority: Authority, tmp_path: Path
) -> None:
    cert, key = authority.server(lifetime=EXPIRED).write(tmp_path, "late")
    late = TlsFiles(cert=cert, key=key)

    good, bad = (check_as_client(load_context(each), each.cert) for each in (files, late))

    assert good.problem is None
    assert good.expires is not None
    assert good.expires.endswith("GMT")
    assert bad.problem == "certificate has expired"


def test_old_and_weak_forms_of_tls_are_off(files: TlsFiles) -> None:
    context = load_context(files)

    names = {cipher["name"] for cipher in context.get_ciphers()}
    assert names
    assert all(name.startswith(("TLS_AES", "TLS_CHACHA20", "ECDHE-")) for name in names)
    assert not any(word in name for name in names for word in ("CBC", "SHA384-SHA", "RC4", "3DES"))
    assert context.num_tickets == 0
    assert context.options & ssl.OP_NO_RENEGOTIATION
