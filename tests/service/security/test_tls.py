"""TLS between a socket and a protocol, with OpenSSL's own client at the other end, in memory."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from service.config import TlsFiles
from service.security.certificates import load_context
from service.security.tls import TlsConnection
from tests.service.security.authority import EXPIRED, Authority, replace

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.security.authority import Identity


class _Inner:
    """Records its events; echoes everything in capitals."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.received = b""
        self.lost = 0
        self.reasons: list[str] = []
        self.is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        self.lost += 1

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.transport.write(data.upper())

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False

    def half_close(self, code: str, reason: str) -> None:
        assert code == "TLS"
        self.reasons.append(reason)
        self.transport.write_eof()


class _Socket(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.has_eof = False
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.has_eof
        assert not self.is_closed
        self.written += bytes(data)

    def write_eof(self) -> None:
        self.has_eof = True

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def get_write_buffer_size(self) -> int:
        return 7


class _Line:
    """A client and a server of one connection; ``exchange`` moves the bytes."""

    def __init__(self, files: TlsFiles, client: ssl.SSLContext) -> None:
        self.inner, self.socket = _Inner(), _Socket()
        self.server = TlsConnection(self.inner, load_context(files))
        self._to_client, self._to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(self._to_client, self._to_server, server_hostname="localhost")
        self.server.connection_made(self.socket)

    def shake_hands(self, *, piece_bytes: int = 1 << 20) -> None:
        """Exchange bytes until both sides are idle."""
        moved = True
        while moved:
            with contextlib.suppress(ssl.SSLWantReadError):
                self.client.do_handshake()
            moved = self.exchange(piece_bytes=piece_bytes)

    def say(self, data: bytes, *, piece_bytes: int = 1 << 20) -> bytes:
        """Send bytes as the client; return what it receives."""
        rest = memoryview(data)
        while rest:
            rest = rest[self.client.write(rest) :]
        self.exchange(piece_bytes=piece_bytes)
        heard = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            while piece := self.client.read(1 << 20):
                heard += piece
        return heard

    def shake_hands_and_say(self, data: bytes) -> bytes:
        self.shake_hands()
        return self.say(data)

    def take(self) -> bytes:
        """Return what the client sends, instead of giving it to the server."""
        return self._to_server.read()

    def exchange(self, *, piece_bytes: int = 1 << 20) -> bool:
        """Move bytes both ways; whether there were any."""
        data = self.take()
        for start in range(0, len(data), piece_bytes):
            if not self.socket.is_closed:
                self.server.data_received(data[start : start + piece_bytes])
        answer, self.socket.written = self.socket.written, b""
        self._to_client.write(answer)
        return bool(data or answer)


@pytest.fixture
def client(authority: Authority) -> ssl.SSLContext:
    """Make a client that offers HTTP/2 and has no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.pem.decode())
    context.set_alpn_protocols(["h2"])
    return context


@pytest.fixture
def open_files(files: TlsFiles) -> TlsFiles:
    """Name the files of a server that wants no certificates of its clients."""
    return TlsFiles(cert=files.cert, key=files.key)


def _show(client: ssl.SSLContext, identity: Identity, folder: Path) -> None:
    client.load_cert_chain(*identity.write(folder, "client"))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("piece_bytes", [1, 7, 1 << 20])
def test_bytes_pass_both_ways_in_pieces_of_any_size(
    open_files: TlsFiles, client: ssl.SSLContext, version: ssl.TLSVersion, piece_bytes: int
) -> None:
    client.minimum_version = client.maximum_version = version
    line = _Line(open_files, client)

    line.shake_hands(piece_bytes=piece_bytes)

    assert line.client.version() == version.name.replace("v1_", "v1.")
    assert line.client.selected_alpn_protocol() == "h2"
    for size in (1, 3_000, 50_000):
        said = b"a" * size
        assert line.say(said, piece_bytes=piece_bytes) == said.upper()
    assert len(line.inner.received) == 53_001
    assert not line.inner.reasons


def test_what_is_written_before_the_handshake_is_heard_by_nobody(
    open_files: TlsFiles, client: ssl.SSLContext
) -> None:
    line = _Line(open_files, client)
    line.inner.transport.write(b"hello?")
    assert not line.socket.written
    assert line.inner.transport.get_write_buffer_size() == 7

    line.shake_hands()

    assert line.say(b"x") == b"X"


def test_several_pieces_are_written_as_one(open_files: TlsFiles, client: ssl.SSLContext) -> None:
    line = _Line(open_files, client)
    line.shake_hands()

    line.inner.transport.writelines([b"a", b"b"])

    assert line.say(b"c") == b"abC"


class _SlowWriter:
    """An SSLObject that takes a few bytes at a time, as OpenSSL may."""

    def __init__(self, tls: ssl.SSLObject) -> None:
        self._tls = tls

    def write(self, data: bytes | memoryview) -> int:
        return self._tls.write(data[:5])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tls, name)


def test_all_is_written_though_openssl_takes_it_in_parts(
    open_files: TlsFiles, client: ssl.SSLContext
) -> None:
    line = _Line(open_files, client)
    line.server._tls = _SlowWriter(line.server._tls)  # type: ignore[assignment]
    line.shake_hands()

    assert line.say(b"more than five bytes") == b"MORE THAN FIVE BYTES"


def test_a_client_says_what_it_likes_with_the_last_step_of_its_handshake(
    open_files: TlsFiles, client: ssl.SSLContext
) -> None:
    line = _Line(open_files, client)
    with pytest.raises(ssl.SSLWantReadError):
        line.client.do_handshake()
    line.exchange()
    line.client.do_handshake()

    assert line.say(b"at once") == b"AT ONCE"


def test_both_sides_can_end_the_conversation(open_files: TlsFiles, client: ssl.SSLContext) -> None:
    ours, theirs = _Line(open_files, client), _Line(open_files, client)
    for line in (ours, theirs):
        line.shake_hands()

    ours.inner.transport.write_eof()
    ours.exchange()
    with pytest.raises(ssl.SSLWantReadError):
        theirs.client.unwrap()
    theirs.exchange()

    assert ours.client.read(1) == b""  # close_notify, so that no end is taken for another
    assert ours.socket.has_eof
    assert not ours.socket.is_closed
    ours.client.write(b"still talking")
    ours.exchange()
    assert not ours.inner.received  # read, and forgotten
    assert theirs.socket.is_closed


def test_a_client_that_hangs_up_within_the_handshake_is_logged_and_a_silent_one_is_not(
    open_files: TlsFiles, client: ssl.SSLContext
) -> None:
    silent, begun, done = (_Line(open_files, client) for _ in range(3))
    with pytest.raises(ssl.SSLWantReadError):
        begun.client.do_handshake()
    begun.exchange()
    done.shake_hands()

    for line in (silent, begun, done):
        line.server.eof_received()

    assert [len(line.inner.reasons) for line in (silent, begun, done)] == [0, 1, 0]
    assert "within the handshake" in begun.inner.reasons[0]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_damage_right_behind_readable_data_ends_the_connection(
    open_files: TlsFiles, client: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    client.minimum_version = client.maximum_version = version
    line = _Line(open_files, client)
    line.shake_hands()
    line.client.write(b"hello")
    whole = line.take()

    line.server.data_received(whole + b"\x17\x03\x03\x00\x20" + bytes(32))

    [reason] = line.inner.reasons
    assert reason.startswith("TLS failed: ")
    assert line.socket.written  # the alert
    assert line.socket.has_eof


def test_pauses_pass_through(open_files: TlsFiles, client: ssl.SSLContext) -> None:
    line = _Line(open_files, client)

    line.server.pause_writing()
    assert line.inner.is_paused
    line.server.resume_writing()
    assert not line.inner.is_paused


def test_a_lost_connection_is_reported_once_whenever_it_is_lost(
    open_files: TlsFiles, client: ssl.SSLContext
) -> None:
    early, late = _Line(open_files, client), _Line(open_files, client)
    late.shake_hands()

    for line in (early, late):
        line.server.connection_lost(None)
        assert line.inner.lost == 1


def _offer_nothing(client: ssl.SSLContext) -> None:
    client.set_alpn_protocols([])


def _offer_http1(client: ssl.SSLContext) -> None:
    client.set_alpn_protocols(["http/1.1"])


@pytest.mark.parametrize("change", [_offer_nothing, _offer_http1])
def test_a_client_without_http2_is_refused_by_a_proper_end(
    open_files: TlsFiles, client: ssl.SSLContext, change: Any
) -> None:
    change(client)
    line = _Line(open_files, client)

    line.shake_hands()

    assert line.client.read(1) == b""
    assert line.inner.reasons == ["it does not offer HTTP/2 (h2 by ALPN)"]
    assert line.socket.has_eof


def _nobody(authority: Authority, client: ssl.SSLContext, folder: Path) -> None:
    """Present no certificate."""


def _known(authority: Authority, client: ssl.SSLContext, folder: Path) -> None:
    _show(client, authority.client(), folder)


def _expired(authority: Authority, client: ssl.SSLContext, folder: Path) -> None:
    _show(client, authority.client(lifetime=EXPIRED), folder)


def _server(authority: Authority, client: ssl.SSLContext, folder: Path) -> None:
    _show(client, authority.server(), folder)


def _stranger(_authority: Authority, client: ssl.SSLContext, folder: Path) -> None:
    _show(client, Authority("another").client(), folder)


def _revoked(authority: Authority, client: ssl.SSLContext, folder: Path) -> None:
    identity = authority.client()
    replace(folder / "crl", authority.revoke(identity))
    _show(client, identity, folder)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("who", "reason", "alert"),
    [
        (_known, None, None),
        (
            _nobody,
            "it presented no certificate, and one is needed",
            "CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE",
        ),
        (_expired, "its certificate is refused: certificate has expired", "CERTIFICATE_EXPIRED"),
        (_revoked, "its certificate is refused: certificate revoked", "CERTIFICATE_REVOKED"),
        (_stranger, "its certificate is refused: unable to get local issuer certificate", "UNKNOWN_CA"),
        (_server, "its certificate is refused: unsuitable certificate purpose", "UNSUPPORTED_CERTIFICATE"),
    ],
)
def test_only_clients_with_a_certificate_of_the_authority_get_in_and_others_learn_why(
    files: TlsFiles,
    authority: Authority,
    client: ssl.SSLContext,
    tmp_path: Path,
    version: ssl.TLSVersion,
    who: Any,
    reason: str | None,
    alert: str | None,
) -> None:
    client.minimum_version = client.maximum_version = version
    who(authority, client, tmp_path)
    line = _Line(files, client)

    if alert is None:
        assert line.shake_hands_and_say(b"hello") == b"HELLO"
    else:
        with pytest.raises(ssl.SSLError, match=alert):
            line.shake_hands_and_say(b"let me in")  # by TLS 1.3 it hears only then
        assert not line.inner.received

    assert line.inner.reasons == ([] if reason is None else [reason])


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "it does not speak TLS, and this port does nothing else"),
        (b"GET / HTTP/1.1\r\n\r\n", "it speaks plain HTTP, and this port TLS"),
    ],
)
def test_plain_text_is_refused(
    open_files: TlsFiles, client: ssl.SSLContext, said: bytes, reason: str
) -> None:
    line = _Line(open_files, client)

    line.server.data_received(said)
    line.server.data_received(said)

    assert line.inner.reasons == [reason]
    assert line.socket.has_eof


def test_versions_that_are_broken_are_refused(open_files: TlsFiles, client: ssl.SSLContext) -> None:
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    line = _Line(open_files, client)

    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        line.shake_hands()

    assert line.inner.reasons == ["TLS failed: unsupported protocol"]


def test_any_bytes_before_within_and_behind_a_handshake_end_it_without_an_exception(
    open_files: TlsFiles, client: ssl.SSLContext
) -> None:
    chance = random.Random(0)  # noqa: S311 - nothing is secret
    turned_away = 0
    for number in range(300):
        line = _Line(open_files, client)
        if number % 3 == 1:
            with pytest.raises(ssl.SSLWantReadError):
                line.client.do_handshake()
            line.exchange()
        elif number % 3 == 2:
            line.shake_hands()

        for _ in range(4):
            if not line.socket.is_closed:
                line.server.data_received(chance.randbytes(chance.randrange(1, 400)))

        assert len(line.inner.reasons) <= 1
        assert not line.inner.received
        turned_away += len(line.inner.reasons)
    assert turned_away > 200  # the others seem to be the beginning of something long
