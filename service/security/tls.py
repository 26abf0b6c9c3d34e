"""TLS between a socket and the protocol spoken over it.

The inner protocol gets the connection when it is accepted, before the handshake, so that a connection that
never completes its handshake counts and is ended like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any, Protocol, cast

APPLICATION_PROTOCOL = "h2"
_RECORD_BYTES = 16 << 10
"""Maximum TLS record, which one read of OpenSSL returns at most."""
_REASONS = {
    "HTTP_REQUEST": "it speaks plain HTTP, and this port TLS",
    "WRONG_VERSION_NUMBER": "it does not speak TLS, and this port does nothing else",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it presented no certificate, and one is needed",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the authority of this server's certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refuses this server's certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it finds this server's certificate expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it refuses this server's certificate",
}


class InnerProtocol(Protocol):
    """The protocol over TLS: an asyncio.Protocol with ``half_close`` for failed handshakes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, before the handshake."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""

    def data_received(self, data: bytes) -> None:
        """Receive decrypted bytes."""

    def pause_writing(self) -> None:
        """Stop writing."""

    def resume_writing(self) -> None:
        """Write again."""

    def half_close(self, code: str, reason: str) -> None:
        """End an unusable connection with ``write_eof``, and wait for the client to close."""


class TlsConnection(asyncio.Transport, asyncio.Protocol):
    """Protocol of the socket, and transport of the inner protocol."""

    def __init__(self, inner: InnerProtocol, context: ssl.SSLContext) -> None:
        """Prepare the server's side; the handshake begins with the client's first bytes."""
        super().__init__()
        self._inner = inner
        self._socket: asyncio.Transport
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._has_begun = False
        """Whether the client has sent anything."""
        self._is_open = False
        """Whether the handshake succeeded and the server has not closed its side."""
        self._is_over = False
        """Whether input is ignored: TLS failed, or the server has closed its side."""

    # -- asyncio.Protocol, for the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, before the handshake."""
        self._socket = cast("asyncio.Transport", transport)
        self._inner.connection_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Apply backpressure: the client does not read."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Release the backpressure."""
        self._inner.resume_writing()

    def eof_received(self) -> None:
        """Let the socket close; report it within a handshake, where some clients send no alert."""
        if self._has_begun and not self._is_open and not self._is_over:
            self._fail("it hung up within the handshake, as clients do that distrust the certificate")

    def data_received(self, data: bytes) -> None:
        """Decrypt, or continue the handshake."""
        if self._is_over:
            return  # unread input would make the close reset the connection and lose what was sent
        self._has_begun = True
        self._incoming.write(data)
        if self._is_open or self._shake_hands():
            self._read()

    # -- asyncio.Transport, for the inner protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send; bytes written before the end of the handshake are dropped."""
        if self._is_open:
            self._encrypt(data)

    def can_write_eof(self) -> bool:
        """Return True: the server can close its side alone."""
        return True

    def write_eof(self) -> None:
        """Close the server's side; further input is read and dropped."""
        self._send_close_notify()
        self._socket.write_eof()

    def close(self) -> None:
        """Send what was written, then close."""
        self._send_close_notify()
        self._socket.close()

    def abort(self) -> None:
        """Close at once."""
        self._socket.abort()

    def is_closing(self) -> bool:
        """Return whether the server has closed the connection."""
        return self._socket.is_closing()

    def pause_reading(self) -> None:
        """Stop reading from the socket; bytes already read are still delivered."""
        self._socket.pause_reading()

    def resume_reading(self) -> None:
        """Read from the socket again."""
        self._socket.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the limits of backpressure, in encrypted bytes."""
        self._socket.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Return the encrypted bytes not yet passed to the operating system."""
        return self._socket.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's type
        """Ask the socket."""
        return self._socket.get_extra_info(name, default)

    # -- TLS

    def _shake_hands(self) -> bool:
        """Continue the handshake; return whether it has succeeded."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._fail(_reason(error))
            return False
        if self._tls.selected_alpn_protocol() != APPLICATION_PROTOCOL:
            self._fail("it does not offer HTTP/2 (h2 by ALPN)")
            return False
        self._is_open = True
        self._flush()
        return True

    def _read(self) -> None:
        """Deliver what can be decrypted."""
        pieces: list[bytes] = []
        fault: ssl.SSLError | None = None
        try:
            # Without the condition each call would end in an exception, which costs as much as a record.
            while self._incoming.pending or self._tls.pending():
                pieces.append(self._tls.read(_RECORD_BYTES))
                if not pieces[-1]:
                    break  # the client sent close_notify
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            fault = error
        if self._outgoing.pending:  # a key update, or an alert
            self._flush()
        if fault is not None:
            self._fail(_reason(fault))  # no answer is possible: drop what came before it
            return
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if data:
            self._inner.data_received(data)
        if pieces and not pieces[-1]:
            self.close()

    def _encrypt(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data)[self._tls.write(data) :]
        while rest:  # OpenSSL may take less than all, though it does not with the modes that Python sets
            rest = rest[self._tls.write(rest) :]
        self._flush()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data and not self.is_closing():
            self._socket.write(data)

    def _fail(self, reason: str) -> None:
        self._is_open, self._is_over = False, True
        self._inner.half_close("TLS", reason)  # its write_eof sends the TLS alert

    def _send_close_notify(self) -> None:
        """Send close_notify, unless the handshake is too early for it."""
        if not self.is_closing():
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()
        self._is_open, self._is_over = False, True


def _reason(error: ssl.SSLError) -> str:
    """Return a sentence for an error of OpenSSL."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    name = error.reason or "unknown"
    return _REASONS.get(name) or f"TLS failed: {name.lower().replace('_', ' ')}"
