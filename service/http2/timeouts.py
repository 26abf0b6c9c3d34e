"""Time limits of a connection."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Timeouts:
    """How long a connection waits for its client, in seconds."""

    handshake_s: float = 10.0
    """For the client's preface, its SETTINGS included."""
    keepalive_s: float = 60.0
    """Without a byte from the client, until it is sent a PING."""
    keepalive_timeout_s: float = 20.0
    """For the reply to that PING."""
    stall_s: float = 30.0
    """For a client that does not read its answers, or does not go on with a request."""
    goaway_s: float = 1.0
    """For each step of a graceful shutdown."""
    max_age_s: float = math.inf
    """Until the client is asked to reconnect, give or take a tenth."""
    max_idle_s: float = math.inf
    """Without a stream, until the client is asked to reconnect."""
    grace_s: float = math.inf
    """For open streams, once the client was asked to reconnect."""
    min_ping_interval_s: float = 0.0
    """Between PINGs of a client that sends nothing else; PINGs that come sooner are counted."""
