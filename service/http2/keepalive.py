"""Decides when a connection needs a PING, has to be aborted, or is too old.

It is asked about once a second and whenever the client sends a PING, so it costs a call nothing.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from service.http2.timeouts import Timeouts

_MAX_EARLY_PINGS = 2
_AGE_JITTER = 0.1
"""Of the maximum age, so that clients that connected together do not reconnect together."""


class Activity(NamedTuple):
    """The state of a connection, as far as its keepalive depends on it."""

    has_preface: bool
    """Whether the client's preface has come."""
    last_received_s: float
    """When the client last sent something."""
    write_paused_s: float | None
    """Since when the client does not read; None if it does."""
    open_block: int | None
    """Number of the header block that has begun and not ended."""
    open_streams: int
    last_stream_id: int
    is_shutting_down: bool
    """Whether a graceful shutdown has begun."""


class Verdict(NamedTuple):
    """What the connection has to do now."""

    abort_reason: str = ""
    """Abort the connection, unless this is empty."""
    ping: bool = False
    """Send a PING."""
    shut_down: bool = False
    """Begin a graceful shutdown."""
    end_streams: bool = False
    """End the streams that are still open: their grace period is over."""


class Keepalive:
    """Watches one connection."""

    __slots__ = (
        "_early_pings",
        "_expires_s",
        "_idle_since_s",
        "_last_stream_id",
        "_open_block",
        "_opened_s",
        "_ping_received_s",
        "_ping_sent",
        "_progress_at_ping",
        "_shutting_down_since_s",
        "_timeouts",
    )

    def __init__(self, timeouts: Timeouts, now_s: float) -> None:
        self._timeouts = timeouts
        self._opened_s = self._idle_since_s = now_s
        self._expires_s = now_s + timeouts.max_age_s * random.uniform(1 - _AGE_JITTER, 1 + _AGE_JITTER)  # noqa: S311 - no secret
        self._shutting_down_since_s = math.inf
        self._last_stream_id = 0
        self._ping_sent: tuple[float, float] | None = None
        """When a silent client was last sent a PING, and when it had last sent something by then."""
        self._open_block: tuple[int, float] | None = None
        """The header block that was incomplete at the last check, and when it was first seen incomplete."""
        self._ping_received_s = -math.inf
        self._progress_at_ping = (0, 0)
        self._early_pings = 0

    def decide(self, activity: Activity, now_s: float) -> Verdict:
        """Decide what is due."""
        if not activity.has_preface:
            is_late = now_s - self._opened_s > self._timeouts.handshake_s
            return Verdict("it has not begun to speak HTTP/2" if is_late else "")
        verdict = self._check_client(activity, now_s)
        if activity.open_streams or activity.last_stream_id != self._last_stream_id:
            self._last_stream_id = activity.last_stream_id
            self._idle_since_s = now_s
        if activity.is_shutting_down:
            self._shutting_down_since_s = min(self._shutting_down_since_s, now_s)
            is_over = now_s - self._shutting_down_since_s > self._timeouts.grace_s
            return verdict._replace(end_streams=is_over)
        is_idle = now_s - self._idle_since_s > self._timeouts.max_idle_s
        return verdict._replace(shut_down=is_idle or now_s >= self._expires_s)

    def _check_client(self, activity: Activity, now_s: float) -> Verdict:
        timeouts = self._timeouts
        if self._is_block_stalled(activity.open_block, now_s):
            return Verdict("a header block does not end")
        if activity.write_paused_s is not None and now_s - activity.write_paused_s > timeouts.stall_s:
            return Verdict("it does not read")
        received_s = activity.last_received_s
        if now_s - received_s <= timeouts.keepalive_s:
            return Verdict()
        if self._ping_sent is None or self._ping_sent[1] != received_s:
            self._ping_sent = now_s, received_s
            return Verdict(ping=True)
        is_late = now_s - self._ping_sent[0] > timeouts.keepalive_timeout_s
        return Verdict("it is silent and does not reply" if is_late else "")

    def _is_block_stalled(self, number: int | None, now_s: float) -> bool:
        if number is None or self._open_block is None or self._open_block[0] != number:
            self._open_block = None if number is None else (number, now_s)
            return False
        return now_s - self._open_block[1] > self._timeouts.stall_s

    def allows_ping(self, progress: tuple[int, int], now_s: float) -> bool:
        """Count a PING of the client; False if there were too many.

        PINGs in quick succession are allowed as long as streams or data come between them: clients measure
        the bandwidth-delay product with them.

        Args:
            progress: the last stream that was opened, and how many bytes of data were sent.
            now_s: the time.
        """
        is_early = now_s - self._ping_received_s < self._timeouts.min_ping_interval_s
        self._early_pings = self._early_pings + 1 if is_early and progress == self._progress_at_ping else 0
        self._ping_received_s, self._progress_at_ping = now_s, progress
        return self._early_pings <= _MAX_EARLY_PINGS
