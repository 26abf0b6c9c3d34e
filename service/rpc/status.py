"""How a call ends: gRPC's statuses, as exceptions become them and as header blocks carry them.

The one place where an exception becomes a status.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from service.errors import Code, ServiceError
from service.http2.headers import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

_INTERNAL_SENTENCE = "the server failed to answer; its log says why"
_LONGEST_MESSAGE = 1_000
"""Characters; encoded, they fit into one frame and into what clients take as metadata by default. Some quote
what a caller sent, and go into a line of the log, too."""
_PRINTABLE = range(0x20, 0x7F)
_RESPONSE_FIELDS = ((b":status", b"200"), (b"content-type", b"application/grpc"))

RESPONSE_HEAD = encode(_RESPONSE_FIELDS)
"""The header block that begins every answer with messages."""


@dataclass(frozen=True)
class Status:
    """A status other than OK, and what goes with it."""

    code: Code
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Trailing metadata, ASCII."""
    failure: Exception | None = field(default=None, compare=False)
    """What the caller is not told, if this is INTERNAL: for the log alone."""

    def with_metadata(self, name: str, value: str) -> Status:
        """Add to the trailing metadata."""
        return replace(self, metadata={**self.metadata, name: value})

    def trailers(self) -> bytes:
        """Make the header block that ends an answer that has begun."""
        return encode(self._fields())

    def whole_answer(self) -> bytes:
        """Make the one header block of an answer without messages."""
        return encode((*_RESPONSE_FIELDS, *self._fields()))

    def _fields(self) -> tuple[tuple[bytes, bytes], ...]:
        return (
            (b"grpc-status", b"%d" % self.code),
            (b"grpc-message", percent_encoded(self.message)),
            *((name.encode(), value.encode()) for name, value in self.metadata.items()),
        )


def ok_trailers(metadata: Mapping[str, str] | None = None) -> bytes:
    """Make the header block that ends a good answer."""
    more = ((name.encode(), value.encode()) for name, value in (metadata or {}).items())
    return encode(((b"grpc-status", b"0"), *more))


def status_of(error: Exception) -> Status:
    """Say how a call ends that failed with an exception.

    Anything but a ServiceError is INTERNAL with a fixed sentence; what it was is for the log.
    """
    if isinstance(error, ServiceError):
        return Status(error.code, str(error)[:_LONGEST_MESSAGE], error.metadata)
    return Status(Code.INTERNAL, _INTERNAL_SENTENCE, failure=error)


def percent_encoded(message: str) -> bytes:
    """Encode a status message for its header (gRPC over HTTP/2, "Percent-Encoded")."""
    return b"".join(
        bytes([byte]) if byte in _PRINTABLE and byte != ord("%") else b"%%%02X" % byte
        for byte in message.encode("utf-8", "replace")
    )
