"""Trailing metadata with the durations of a request's parts, for callers who ask for it.

In the syntax of W3C's Server-Timing, in milliseconds: https://www.w3.org/TR/server-timing/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar10net.protocol import TIMING_KEY, TIMING_REQUEST_KEY
from service.observability.timing import clock

if TYPE_CHECKING:
    from service.observability.observers import Request

REQUEST_KEY = TIMING_REQUEST_KEY.encode()
"""Metadata key with which a caller asks for it."""
_MS = 1_000


def trailer(request: Request) -> dict[str, str]:
    """Return the durations of a request up to now and of its parts, without those that did not happen."""
    now_s = clock()
    decode_s, queue_s, running = request.parts(now_s)
    batch_wait_s, compute_s, _ = running or (None, None, None)
    parts = {
        "decode": decode_s,
        "queue": queue_s,
        "batch": batch_wait_s,
        "compute": compute_s,
        "total": now_s - request.began_s,
    }
    written = (f"{name};dur={_MS * part_s:.3f}" for name, part_s in parts.items() if part_s is not None)
    return {TIMING_KEY: ", ".join(written)}
