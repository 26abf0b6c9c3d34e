"""How a connection ends in agreement with its client: two goodbyes, the last answers, and the close.

In: the wish to part. Out: GOAWAY frames, and the end of the connection once all is answered that was promised
to be. Knows nothing of why.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from service.http2 import frames
from service.http2.frames import ErrorCode

if TYPE_CHECKING:
    from service.http2.connection import Connection
    from service.http2.stream import Patience

_GOODBYE = b"goodbye?"


class Farewell:
    """Of one connection."""

    __slots__ = ("_closing_s", "_connection", "_since_s", "last_answered_id")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._since_s: float | None = None
        """When its last step began."""
        self._closing_s = math.inf
        """When the connection was first seen to close by itself, as it does when the client says no more."""
        self.last_answered_id: int | None = None
        """Set once the client was told that later streams are not answered."""

    @property
    def has_begun(self) -> bool:
        """Whether the client was asked to open no more streams."""
        return self._since_s is not None

    def begin(self, now_s: float) -> None:
        """Ask the client to open no more streams; close once the open ones are answered.

        Streams that cross this on the wire are still answered: only when the client has shown by its PING
        reply that it knows, later ones are refused, and it knows which.
        """
        if self._since_s is None:
            self._since_s = now_s
            connection = self._connection
            connection.on_greeting()
            connection.write(frames.go_away(frames.LARGEST_STREAM_ID, ErrorCode.NO_ERROR))
            connection.write(frames.frame(frames.PING, 0, 0, _GOODBYE))
            if not connection.is_greeted:
                self._refuse_further_streams(now_s)

    def on_pong(self, payload: bytes, now_s: float) -> None:
        """Learn that the client knows, if that is what it replies to."""
        if payload == _GOODBYE and self.has_begun:
            self._refuse_further_streams(now_s)

    def on_close(self, now_s: float) -> None:
        """Learn that all is said, and wait for the client to close."""
        self._since_s = now_s

    def look(self, now_s: float, patience: Patience) -> None:
        """Go on without a client that takes too long."""
        connection = self._connection
        if connection.is_closing:  # not before the client has read everything
            self._closing_s = min(self._closing_s, now_s)
            if now_s - self._closing_s > patience.stall_s:
                connection.give_up("it has hung up and does not read")
        if self._since_s is None:
            return
        waited_s = now_s - self._since_s
        if connection.has_said_all:
            if waited_s > (patience.stall_s if connection.unwritten_bytes else patience.goodbye_s):
                connection.abort()
        elif self.last_answered_id is None and waited_s > patience.goodbye_s:
            self._refuse_further_streams(now_s)

    def _refuse_further_streams(self, now_s: float) -> None:
        if self.last_answered_id is None:
            connection = self._connection
            self.last_answered_id = connection.last_id
            connection.write(frames.go_away(connection.last_id, ErrorCode.NO_ERROR))
            self._since_s = now_s
            connection.close_when_done()
