"""What time does to a connection: silence, stalls, pings, idleness and age.

In: a look at it about once a second, and the client's PINGs. Out: goodbyes, PINGs, and the ends of what has
taken too long, which the connection carries out. Costs a call nothing.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from service.http2.frame_reader import ConnectionFault
from service.http2.frames import ErrorCode

if TYPE_CHECKING:
    from service.http2.connection import Connection
    from service.http2.stream import Patience

_MOST_HASTY_PINGS = 2
TOO_MANY_PINGS = "too_many_pings"
"""The words that have a gRPC client ping more seldom when it connects again (gRFC A8)."""
_SPREAD = 0.1
"""Of the age that connections reach, so that those made together do not come back together."""


class Vigil:
    """Looks after one connection."""

    __slots__ = (
        "_asked",
        "_connection",
        "_hasty_pings",
        "_idle_since_s",
        "_last_activity",
        "_leaves_s",
        "_open_block",
        "_opened_s",
        "_parted_s",
        "_patience",
        "_pinged_after",
        "_pinged_s",
    )

    def __init__(self, connection: Connection, patience: Patience, now_s: float) -> None:
        self._connection = connection
        self._patience = patience
        self._opened_s = self._idle_since_s = now_s
        self._leaves_s = now_s + patience.age_s * random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311 - no secret
        self._parted_s = math.inf
        """When the connection was first seen to have said goodbye."""
        self._last_activity = 0
        self._asked: tuple[float, float] | None = None
        """When a silent client was asked whether it is there, and when it had been heard last by then."""
        self._open_block: tuple[int, float] | None = None
        """The header block that was incomplete at the last look, and when it was first seen so."""
        self._pinged_s = -math.inf
        self._pinged_after = (0, 0)
        """What had been opened and sent when the client pinged last."""
        self._hasty_pings = 0

    def look(self, now_s: float) -> None:
        """See what is due."""
        connection, patience = self._connection, self._patience
        if not connection.is_greeted:
            if now_s - self._opened_s > patience.handshake_s:
                connection.give_up("it has not begun to speak HTTP/2")
            return
        self._watch_block(now_s)
        if connection.paused_since_s is not None and now_s - connection.paused_since_s > patience.stall_s:
            connection.give_up("it does not read")
        elif now_s - connection.heard_s > patience.silence_s:
            self._ask(now_s)
        for stream in connection.open_streams():
            if stream.waits_for_client and now_s - stream.moved_s > patience.stall_s:
                stream.on_stall()
        self._watch_age(now_s)

    def on_ping(self, now_s: float) -> None:
        """Count a PING of the client.

        Those that come one upon another are forgiven as long as there are calls or data between them: clients
        measure so how much may be on its way.

        Raises:
            ConnectionFault: there were too many.
        """
        after = (self._connection.last_id, self._connection.sent_bytes)
        if now_s - self._pinged_s >= self._patience.ping_s or after != self._pinged_after:
            self._hasty_pings = 0
        else:
            self._hasty_pings += 1
            if self._hasty_pings > _MOST_HASTY_PINGS:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, TOO_MANY_PINGS)
        self._pinged_s, self._pinged_after = now_s, after

    def _watch_block(self, now_s: float) -> None:
        """See that a header block in pieces comes to its end."""
        number = self._connection.open_block
        if number is None or self._open_block is None or self._open_block[0] != number:
            self._open_block = None if number is None else (number, now_s)
        elif now_s - self._open_block[1] > self._patience.stall_s:
            self._connection.give_up("a header block does not end")

    def _ask(self, now_s: float) -> None:
        heard_s = self._connection.heard_s
        if self._asked is None or self._asked[1] != heard_s:
            self._asked = now_s, heard_s
            self._connection.ping()
        elif now_s - self._asked[0] > self._patience.reply_s:
            self._connection.give_up("it is silent and does not reply")

    def _watch_age(self, now_s: float) -> None:
        """Part from a client that has been here, or idle, for long; in the end from its calls too."""
        connection = self._connection
        if connection.streams or connection.last_id != self._last_activity:
            self._last_activity = connection.last_id
            self._idle_since_s = now_s
        if connection.is_parting:
            self._parted_s = min(self._parted_s, now_s)
            if now_s - self._parted_s > self._patience.grace_s:
                for stream in connection.open_streams():
                    stream.on_parting()
        elif now_s >= self._leaves_s or now_s - self._idle_since_s > self._patience.idle_s:
            connection.say_goodbye()
