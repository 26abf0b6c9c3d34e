"""How long the parts of one call took, told to its caller behind the answer.

In: the timing of a request, of a caller who asks for it by its metadata. Out: a line in the syntax of W3C's
Server-Timing, in milliseconds, and back. Knows nothing of channels.

https://www.w3.org/TR/server-timing/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar10net.protocol import TIMING_KEY, TIMING_REQUEST_KEY
from service.observability.timing import clock

if TYPE_CHECKING:
    from service.observability.observers import Request

WISH = TIMING_REQUEST_KEY.encode()
_MS = 1_000


def trailer(request: Request) -> dict[str, str]:
    """Say how long a request has taken up to now, and its parts; those that did not happen are left out."""
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
