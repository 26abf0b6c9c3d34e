"""TLS between a socket and the protocol that is spoken over it.

In: the socket's bytes, encrypted, and what the inner protocol writes. Out: to each side what it understands.
The inner protocol has the connection from the moment it is accepted, so that one that never gets beyond its
handshake is counted, waited for and ended as any other. Knows nothing of HTTP/2.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

APPLICATION_PROTOCOL = "h2"
_RECORD_BYTES = 16 << 10
"""The most that one read of OpenSSL returns."""
_REASONS = {
    "HTTP_REQUEST": "it speaks plain HTTP, and this port TLS",
    "WRONG_VERSION_NUMBER": "it does not speak TLS, and this port nothing else",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate, and one is needed",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the authority of this server's certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refuses this server's certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it finds this server's certificate expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it refuses this server's certificate",
}


class Inner(Protocol):
    """What is spoken over TLS: an asyncio.Protocol that can be told of a handshake that failed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Learn of the connection, before its handshake."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Learn of its end."""

    def data_received(self, data: bytes) -> None:
        """Take what the client says, in the clear."""

    def pause_writing(self) -> None:
        """Write no more for now."""

    def resume_writing(self) -> None:
        """Go on."""

    def turn_away(self, code: str, reason: str) -> None:
        """End a connection that cannot be spoken over, by ``write_eof``, and wait for the client to close."""


class TlsConnection(asyncio.Transport, asyncio.Protocol):
    """The protocol of a socket, and the transport of an inner protocol."""

    def __init__(self, inner: Inner, context: ssl.SSLContext) -> None:
        """Prepare the server's side, whose handshake begins with the client's first bytes."""
        super().__init__()
        self._inner = inner
        self._socket: asyncio.Transport | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._has_begun = False
        """Whether the client has said anything."""
        self._is_open = False
        """Whether the handshake is over and good, and the server has not said all."""
        self._is_over = False
        """Whether nothing more is read: it failed, or the server has said all."""

    # -- the socket's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass the connection on."""
        self._socket = cast("asyncio.Transport", transport)
        self._inner.connection_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass its end on."""
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass on that the client does not read."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that it does again."""
        self._inner.resume_writing()

    def eof_received(self) -> None:
        """Let the socket close; within a handshake that is worth a word, since some clients say none."""
        if self._has_begun and not self._is_open and not self._is_over:
            self._fail("it hung up within the handshake, as clients do that do not trust the certificate")

    def data_received(self, data: bytes) -> None:
        """Decrypt what has come, or go on with the handshake."""
        if self._is_over:
            return  # read on only so that the socket's end does not take back what was said
        self._has_begun = True
        self._incoming.write(data)
        if self._is_open or self._shake_hands():
            self._read()

    # -- the inner side

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send; before the handshake is over there is nobody yet to hear it."""
        if self._is_open:
            self._encrypt(data)

    def can_write_eof(self) -> bool:
        """Whether the server can end its side alone."""
        return True

    def write_eof(self) -> None:
        """Say that nothing more comes; what the client still sends is read and forgotten."""
        self._say_end()
        if self._socket is not None:
            self._socket.write_eof()

    def close(self) -> None:
        """Send what was written and close."""
        self._say_end()
        if self._socket is not None:
            self._socket.close()

    def abort(self) -> None:
        """Close at once."""
        if self._socket is not None:
            self._socket.abort()

    def is_closing(self) -> bool:
        """Whether it was closed from here."""
        return self._socket is None or self._socket.is_closing()

    def pause_reading(self) -> None:
        """Take no more from the socket; the rest of what has been taken still comes."""
        if self._socket is not None:
            self._socket.pause_reading()

    def resume_reading(self) -> None:
        """Take more again."""
        if self._socket is not None:
            self._socket.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when the inner protocol is told to pause; encrypted bytes are counted."""
        if self._socket is not None:
            self._socket.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """How much is written and not yet the system's."""
        return 0 if self._socket is None else self._socket.get_write_buffer_size()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Write several pieces."""
        self.write(b"".join(list_of_data))

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's type
        """Ask the socket."""
        return default if self._socket is None else self._socket.get_extra_info(name, default)

    # -- between the two

    def _shake_hands(self) -> bool:
        """Go on with the handshake; whether it is over and good."""
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
        """Pass on what can be decrypted."""
        pieces: list[bytes] = []
        fault: ssl.SSLError | None = None
        try:
            # Without this condition each read would end in an exception, which costs as much as a record.
            while self._incoming.pending or self._tls.pending():
                pieces.append(self._tls.read(_RECORD_BYTES))
                if not pieces[-1]:
                    break  # the client has closed, as TLS does it
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            fault = error
        if self._outgoing.pending:  # the reply to a new key, or an alert
            self._flush()
        if fault is not None:
            self._fail(_reason(fault))  # nothing can be answered any more: what came before it is dropped
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
            self._socket.write(data)  # type: ignore[union-attr] # closing without one

    def _fail(self, reason: str) -> None:
        self._is_open, self._is_over = False, True
        self._inner.turn_away("TLS", reason)  # whose write_eof sends the alert that tells the client why

    def _say_end(self) -> None:
        """Send close_notify, if the handshake has come so far that it can be said."""
        if not self.is_closing():
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()
        self._is_open, self._is_over = False, True


def _reason(error: ssl.SSLError) -> str:
    """Say in a sentence what went wrong in a conversation by TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    name = error.reason or "unknown"
    return _REASONS.get(name) or f"TLS failed: {name.lower().replace('_', ' ')}"
