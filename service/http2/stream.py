"""A stream of HTTP/2, and what a connection wants to know of the service that answers it.

A connection makes no sense of requests: it makes a Stream of each and hands it the data. Knows nothing of
frames.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections import deque

    from service.http2.connection import Connection
    from service.http2.headers import Fields


class Trailers:
    """What a service makes of fields that end a request: well-formed, and none of them a pseudo-field."""


TRAILERS = Trailers()
LEAST_PROGRESS_BYTES = 16 << 10
"""What has to move within ``Patience.stall_s``, unless it is the rest: a few bytes now and then are none."""
STREAM_WINDOW = 1 << 20
"""Bytes that a client may send ahead of what a stream has taken."""


@dataclass(frozen=True)
class Patience:
    """How long a connection waits for its client, in seconds."""

    handshake_s: float = 10.0
    """For the preface, its SETTINGS included."""
    silence_s: float = 60.0
    """Without a byte, before the client is asked whether it is there."""
    reply_s: float = 20.0
    """For the reply to that."""
    stall_s: float = 30.0
    """For a client that does not read its answers, or does not go on with a request."""
    goodbye_s: float = 1.0
    """For each step of closing a connection in agreement with its client."""
    age_s: float = math.inf
    """Until the client is asked to connect anew, give or take a tenth."""
    idle_s: float = math.inf
    """Without a request, before the client is asked to go."""
    grace_s: float = math.inf
    """For requests under way once the client was asked to go."""
    ping_s: float = 0.0
    """Between PINGs of a client that has nothing else to say; those that come sooner are counted."""


class Stream(ABC):
    """One request and its answer; a subclass says what they mean."""

    __slots__ = (
        "connection",
        "drained",
        "id",
        "is_over",
        "moved_bytes",
        "moved_s",
        "outbox",
        "receive_window",
        "request_ended",
        "send_window",
        "trailers",
        "unread_bytes",
    )

    def __init__(self, connection: Connection, stream_id: int, *, request_ended: bool = False) -> None:
        self.connection = connection
        self.id = stream_id
        self.send_window = connection.peer_stream_window
        self.receive_window = STREAM_WINDOW
        self.outbox: deque[memoryview] | None = None
        """What the client's windows hold back."""
        self.trailers: bytes | None = None
        self.drained: asyncio.Future[None] | None = None
        self.request_ended = request_ended
        self.is_over = False
        self.unread_bytes = 0
        """Of the request, received and left for later: they are not let through again."""
        self.moved_s = connection.heard_s
        """When there was progress last."""
        self.moved_bytes = 0
        """Since then."""

    def move(self, size: int, now_s: float) -> None:
        """Count bytes that went either way towards progress."""
        self.moved_bytes += size
        if self.moved_bytes >= LEAST_PROGRESS_BYTES:
            self.moved_s, self.moved_bytes = now_s, 0

    @abstractmethod
    def on_data(self, data: bytes, *, ended: bool) -> None:
        """Take the next part of the request."""

    @abstractmethod
    def on_over(self) -> None:
        """Learn that the answer is out, or that nobody waits for it any more; nothing can be sent."""

    @abstractmethod
    def on_stall(self) -> None:
        """Learn that the client has neither gone on with the request nor read the answer for long."""

    @abstractmethod
    def on_parting(self) -> None:
        """Learn that the connection ends now; the answer has to, with whatever status."""

    @property
    def waits_for_client(self) -> bool:
        """Whether it is the client's turn."""
        return not self.request_ended or bool(self.outbox)


class Service(Protocol):
    """What connections are made for."""

    patience: Patience
    max_streams: int

    def make_head(self, fields: Fields) -> Any:  # noqa: ANN401 - the service's own type
        """Read a header block's fields: a request's head, TRAILERS, or None if they are malformed."""

    def make_stream(
        self,
        connection: Connection,
        stream_id: int,
        head: Any,  # noqa: ANN401
        *,
        ended: bool,
    ) -> Stream:
        """Make the stream of a new request, which may have ended with its head; it may answer at once."""

    def opened(self, connection: Connection) -> bool:
        """Learn of a new connection; False turns it away."""

    def broken_off(self, connection: Connection, code: str, reason: str) -> None:
        """Learn that a connection is ended because of what its client did or failed to do."""

    def closed(self, connection: Connection) -> None:
        """Learn that a connection is gone."""
