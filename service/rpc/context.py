"""What a handler may use of its call.

Handlers are typed against these protocols alone, so that another front, such as grpcio's, can run them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from service.observability.observers import ObservedCall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.rpc.status import Status


class UnaryContext(ObservedCall, Protocol):
    """A call with one request message and one response."""

    trailing_metadata: Mapping[str, str] | None
    """Sent behind a good answer."""

    @property
    def deadline_s(self) -> float | None:
        """The call's deadline by the event loop's clock."""


class StreamContext(ObservedCall, Protocol):
    """A call with any number of messages in both directions."""

    on_stop: Callable[[], None] | None
    """Called when the server begins to stop."""

    @property
    def deadline_s(self) -> float | None:
        """The call's deadline by the event loop's clock."""

    @property
    def is_stopping(self) -> bool:
        """Whether the server stops: ``receive`` returns only messages that had arrived by then."""

    @property
    def is_cut_short(self) -> bool:
        """Whether the server stops before the end of the request, so that messages may be unanswered."""

    async def receive(self) -> bytes | None:
        """Wait for the next message; None when there are no more.

        A message counts against the stream's flow-control window until it is released.

        Raises:
            InvalidRequestError, MessageTooLargeError: the message cannot be decompressed.
            OverloadedError: decompressed, it exceeds what the server can hold now.
        """

    def release(self, count: int = 1) -> None:
        """Release the oldest messages received, so that the client may send more."""

    async def send(self, *messages: bytes) -> None:
        """Send messages; wait while the client's flow-control window is closed."""

    def log_failure(self, status: Status) -> None:
        """Log that a message of this call was refused or has failed."""
