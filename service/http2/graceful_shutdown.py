"""Decides the steps of a graceful shutdown: two GOAWAYs, the last answers, the close (RFC 9113, section 6.8).

The first GOAWAY asks the client to open no more streams. Streams that cross it on the wire are still
answered. Once the reply to a PING shows that the client has read it, the second GOAWAY names the last stream
that is answered; later ones are ignored.
"""

from __future__ import annotations

import math
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.http2.timeouts import Timeouts

PING_PAYLOAD = b"goodbye?"
"""Of the PING behind the first GOAWAY."""


class Step(Enum):
    """The next step that the connection has to take."""

    WAIT = auto()
    SEND_FINAL_GOAWAY = auto()
    ABORT = auto()
    ABORT_STALLED = auto()
    """Abort, and log that the client has closed its side without reading its answers."""


class GracefulShutdown:
    """The shutdown of one connection."""

    __slots__ = ("_closing_since_s", "_step_began_s", "_timeouts", "final_stream_id")

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._step_began_s: float | None = None
        self._closing_since_s = math.inf
        """When the transport was first seen closing by itself, as it does when the client sends EOF."""
        self.final_stream_id: int | None = None
        """The last stream that is answered; None while new ones are still accepted."""

    @property
    def has_begun(self) -> bool:
        """Whether the client was asked to open no more streams."""
        return self._step_began_s is not None

    def begin(self, now_s: float) -> bool:
        """Begin; False if it has begun already, and there is nothing to send."""
        if self.has_begun:
            return False
        self._step_began_s = now_s
        return True

    def refuse_streams_after(self, stream_id: int, now_s: float) -> bool:
        """Accept no more streams; False if that was so already, and there is nothing to send."""
        if self.final_stream_id is not None:
            return False
        self.final_stream_id = stream_id
        self._step_began_s = now_s
        return True

    def on_half_close(self, now_s: float) -> None:
        """Wait, from now on, for the client to close."""
        self._step_began_s = now_s

    def decide(self, now_s: float, *, is_closing: bool, is_half_closed: bool, has_unwritten: bool) -> Step:
        """Decide what is due, once a second.

        Args:
            now_s: the time.
            is_closing: whether the transport closes as soon as everything is written.
            is_half_closed: whether this side has sent its EOF.
            has_unwritten: whether the system has not yet taken everything that was written.
        """
        if is_closing:
            self._closing_since_s = min(self._closing_since_s, now_s)
            if now_s - self._closing_since_s > self._timeouts.stall_s:
                return Step.ABORT_STALLED
        if self._step_began_s is None:
            return Step.WAIT
        waited_s = now_s - self._step_began_s
        if is_half_closed:
            limit_s = self._timeouts.stall_s if has_unwritten else self._timeouts.goaway_s
            return Step.ABORT if waited_s > limit_s else Step.WAIT
        is_due = self.final_stream_id is None and waited_s > self._timeouts.goaway_s
        return Step.SEND_FINAL_GOAWAY if is_due else Step.WAIT
