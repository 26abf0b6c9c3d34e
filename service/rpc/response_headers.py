"""Header blocks of answers: the response head, and trailers with a status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.http2.headers import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.rpc.status import Status

_PRINTABLE = range(0x20, 0x7F)
_RESPONSE_FIELDS = ((b":status", b"200"), (b"content-type", b"application/grpc"))

RESPONSE_HEAD = encode(_RESPONSE_FIELDS)
"""The header block that begins every answer with messages."""


def ok_trailers(metadata: Mapping[str, str] | None = None) -> bytes:
    """Encode the trailers of status OK."""
    return encode(((b"grpc-status", b"0"), *_encoded(metadata or {})))


def trailers(status: Status) -> bytes:
    """Encode the trailers of an answer that has begun."""
    return encode(_status_fields(status))


def trailers_only(status: Status) -> bytes:
    """Encode an answer without messages, which is a single header block."""
    return encode((*_RESPONSE_FIELDS, *_status_fields(status)))


def percent_encoded(message: str) -> bytes:
    """Encode a status message for its header (gRPC over HTTP/2, "Percent-Encoded")."""
    return b"".join(
        bytes([byte]) if byte in _PRINTABLE and byte != ord("%") else b"%%%02X" % byte
        for byte in message.encode("utf-8", "replace")
    )


def _status_fields(status: Status) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"grpc-status", b"%d" % status.code),
        (b"grpc-message", percent_encoded(status.message)),
        *_encoded(status.metadata),
    )


def _encoded(metadata: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode(), value.encode()) for name, value in metadata.items())
