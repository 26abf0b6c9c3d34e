"""Connections behind TLS are counted in and out once, however the handshake ends."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from service.config import SecurityConfig, TlsFiles
from service.http2.timeouts import Timeouts
from service.rpc.server import RpcLimits, RpcServer
from service.security.policy import SecurityPolicy
from tests.service.in_process import MemoryTransport, settle
from tests.service.raw_client import PREFACE, parsed, raw_frame
from tests.service.rpc.test_server import in_a_loop, now_s

if TYPE_CHECKING:
    from service.http2.connection import Connection
    from service.security.tls import TlsConnection
    from tests.service.security.authority import Authority


class _Client:
    """A client in memory, and the connection that the server has with it."""

    def __init__(self, server: RpcServer, context: ssl.SSLContext) -> None:
        self._to_client, self._to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._to_client, self._to_server, server_hostname="localhost")
        self.layer: TlsConnection = server._connect()  # type: ignore[assignment]
        self.transport = MemoryTransport(self.layer)  # type: ignore[arg-type]
        self.layer.connection_made(self.transport)

    @property
    def connection(self) -> Connection:
        return self.layer._inner  # type: ignore[return-value]

    def exchange(self) -> None:
        data = self._to_server.read()
        if data and not self.transport.is_closing():
            self.layer.data_received(data)
        written, self.transport.written = self.transport.written, b""
        self._to_client.write(written)

    def shake_hands(self) -> None:
        for _ in range(4):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
            self.exchange()

    def hear(self) -> bytes:
        heard = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            while piece := self.tls.read(1 << 16):
                heard += piece
        return heard


class _Server:
    """An RpcServer that demands TLS, and how often it said that a connection is gone."""

    def __init__(self, files: TlsFiles, max_connections: int = 10) -> None:
        self.closings = 0
        limits = RpcLimits(max_message_bytes=1, max_held_bytes=1, max_connections=max_connections)
        policy = SecurityPolicy(SecurityConfig(tls=files), ())
        self.rpc = RpcServer((), limits, Timeouts(), on_closed=self._on_closed, security=policy)

    def _on_closed(self) -> None:
        self.closings += 1


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.pem.decode())
    context.set_alpn_protocols(["h2"])
    return context


@pytest.fixture
def open_files(files: TlsFiles) -> TlsFiles:
    return TlsFiles(cert=files.cert, key=files.key)


@in_a_loop
async def test_a_handshake_that_does_not_end_is_ended(open_files: TlsFiles, context: ssl.SSLContext) -> None:
    server = _Server(open_files)
    silent, slow = (_Client(server.rpc, context) for _ in range(2))
    with pytest.raises(ssl.SSLWantReadError):
        slow.tls.do_handshake()
    slow.layer.data_received(slow._to_server.read(100))
    assert server.rpc.connections == 2

    with capture_logs() as lines:
        for client in (silent, slow):
            client.connection.tick(now_s() + 9)
            assert not client.transport.was_aborted
            client.connection.tick(now_s() + 11)
            assert client.transport.was_aborted
        await settle()
    await server.rpc.close()

    assert (server.rpc.connections, server.closings) == (0, 2)
    assert {line["reason"] for line in lines} == {"it has not begun to speak HTTP/2"}


@in_a_loop
async def test_a_handshake_that_fails_is_uncounted_and_logged_once(
    files: TlsFiles, context: ssl.SSLContext
) -> None:
    server = _Server(files)  # wants a certificate, and the client has none
    client = _Client(server.rpc, context)

    with capture_logs() as lines:
        client.shake_hands()
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
        client.hear()
    with capture_logs() as later_lines:
        client.layer.data_received(b"more")
        assert server.rpc.connections == 1  # until it is closed
        client.connection.tick(now_s() + 0.5)
        client.connection.tick(now_s() + 60)
        await settle()
    await server.rpc.close()

    assert client.transport.has_eof
    assert client.transport.was_aborted
    assert (server.rpc.connections, server.closings) == (0, 1)
    assert [(line["status"], line["reason"]) for line in lines] == [
        ("TLS", "it presented no certificate, and one is needed")
    ]
    assert not later_lines


@in_a_loop
async def test_connections_beyond_the_limit_get_no_handshake(
    open_files: TlsFiles, context: ssl.SSLContext
) -> None:
    server = _Server(open_files, max_connections=2)
    clients = [_Client(server.rpc, context) for _ in range(3)]

    assert [client.transport.was_aborted for client in clients] == [False, False, True]
    await settle()
    assert (server.rpc.connections, server.closings) == (2, 1)
    await server.rpc.close()
    await settle()
    assert (server.rpc.connections, server.closings) == (0, 3)


@in_a_loop
async def test_a_server_that_stops_ends_handshakes_too(open_files: TlsFiles, context: ssl.SSLContext) -> None:
    server = _Server(open_files)
    client = _Client(server.rpc, context)

    draining = asyncio.create_task(server.rpc.drain(60))
    await settle()
    client.shake_hands()

    assert client.transport.has_eof
    assert not client.transport.written
    client.transport.close()  # as when the client closes
    assert await draining
    assert (server.rpc.connections, server.closings) == (0, 1)
    await server.rpc.close()


@in_a_loop
async def test_http2_goes_on_where_the_handshake_ends(open_files: TlsFiles, context: ssl.SSLContext) -> None:
    server = _Server(open_files)
    client = _Client(server.rpc, context)
    client.shake_hands()

    client.tls.write(PREFACE + raw_frame(4, 0, 0) + raw_frame(6, 0, 0, b"are u ok"))
    client.exchange()
    frames, rest = parsed(client.hear())

    assert not rest
    assert [type(frame).__name__ for frame in frames] == [
        "SettingsFrame", "WindowUpdateFrame", "SettingsFrame", "PingFrame",
    ]  # fmt: skip
    client.tls.write(raw_frame(6, 0, 0, b"short"))  # a fault, which is told before the end
    client.exchange()
    frames, _ = parsed(client.hear())
    assert [type(frame).__name__ for frame in frames] == ["GoAwayFrame"]
    assert client.transport.has_eof
    await server.rpc.close()
