"""A stream: one request and its answer, as a connection sees them.

A connection does not interpret requests: it makes a Stream of each and gives it the data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections import deque

MIN_PROGRESS_BYTES = 16 << 10
"""A stream stalls unless this much, or the rest of it, moves within ``Timeouts.stall_s``."""
STREAM_WINDOW = 1 << 20
"""The flow-control window of a request, in bytes."""


class Trailers:
    """The fields of a header block that ends a request: well-formed, without pseudo-fields."""


TRAILERS = Trailers()


class Sender(Protocol):
    """What a stream needs of its connection."""

    peer: str
    """The client's address."""
    last_received_s: float
    """When the client last sent something, by the event loop's clock."""
    unsent_bytes: int
    """Bytes of all streams' answers that the client's windows hold back."""
    peer_stream_window: int
    """The flow-control window with which the client begins each stream."""

    def respond(self, stream: Stream, head: bytes, data: bytes, trailers: bytes) -> None:
        """Send a whole answer: header block, data, trailers."""

    def send_headers(self, stream: Stream, block: bytes, *, ended: bool = False) -> None:
        """Send a header block; the last one if ``ended``."""

    def send(self, stream: Stream, data: bytes, trailers: bytes | None = None) -> None:
        """Send data, then the trailers that end the answer, as soon as the windows allow."""

    def drop_unsent(self, stream: Stream) -> None:
        """Drop the data that the windows hold back."""

    def update_window(self, stream: Stream) -> None:
        """Let the client send as much more as the stream has consumed."""


class Stream:
    """One request and its answer; this one ignores its request, a subclass interprets it."""

    __slots__ = (
        "drained",
        "id",
        "is_over",
        "last_progress_s",
        "outbox",
        "progress_bytes",
        "receive_window",
        "request_ended",
        "send_window",
        "sender",
        "trailers",
        "unread_bytes",
    )

    def __init__(self, sender: Sender, stream_id: int, *, request_ended: bool = False) -> None:
        self.sender = sender
        self.id = stream_id
        self.send_window = sender.peer_stream_window
        self.receive_window = STREAM_WINDOW
        self.outbox: deque[memoryview] | None = None
        """Data that the client's windows hold back."""
        self.trailers: bytes | None = None
        self.drained: asyncio.Future[None] | None = None
        """Done once the outbox is empty."""
        self.request_ended = request_ended
        self.is_over = False
        self.unread_bytes = 0
        """Bytes received and not consumed yet, for which the window stays closed."""
        self.last_progress_s = sender.last_received_s
        self.progress_bytes = 0
        """Bytes moved since then."""

    def count_progress(self, size: int, now_s: float) -> None:
        """Count bytes that went either way."""
        self.progress_bytes += size
        if self.progress_bytes >= MIN_PROGRESS_BYTES:
            self.last_progress_s, self.progress_bytes = now_s, 0

    def on_data(self, data: bytes, *, ended: bool) -> None:
        """Take the next part of the request."""

    def on_over(self) -> None:
        """Free everything: the answer is sent, or nobody waits for it."""

    def on_stall(self) -> None:
        """React to a client that has neither continued the request nor read the answer for ``stall_s``."""

    def on_grace_over(self) -> None:
        """End the answer now, with any status: the connection's grace period is over."""

    @property
    def waits_for_client(self) -> bool:
        """Whether it is the client's turn."""
        return not self.request_ended or bool(self.outbox)
