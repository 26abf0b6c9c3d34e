"""Hedged calls: send a late call a second time and take the first answer.

gRPC's own hedging (gRFC A6) is missing from the C core that Python's gRPC is built on.
"""

from __future__ import annotations

import asyncio
import queue
from typing import TYPE_CHECKING, Any

from cifar10net.failures import RETRYABLE_CODES

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc


def hedged(begin: Callable[[float], Any], deadline_s: float, after_s: float) -> Any:  # noqa: ANN401 - gRPC's
    """Start a call, and a second one if it is late.

    Args:
        begin: starts a call with a timeout in seconds and returns its future.
        deadline_s: for both calls together.
        after_s: delay before the second call.

    Returns:
        The first call to end, or the other one if that has a retryable code. What still runs is cancelled.
    """
    ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
    calls = [begin(deadline_s)]
    try:
        calls[0].add_done_callback(ended.put)
        try:
            return ended.get(timeout=min(after_s, deadline_s))
        except queue.Empty:
            calls.append(begin(max(0, deadline_s - after_s)))
            calls[1].add_done_callback(ended.put)
        call = ended.get()
        return ended.get() if call.code() in RETRYABLE_CODES else call
    finally:
        for call in calls:
            call.cancel()


async def hedged_async(begin: Callable[[float], Any], deadline_s: float, after_s: float) -> Any:  # noqa: ANN401
    """Do the same in an event loop; ``begin`` returns a call that nobody awaits yet."""
    calls = [begin(deadline_s)]
    codes = [asyncio.ensure_future(calls[0].code())]
    try:
        await asyncio.wait(codes, timeout=min(after_s, deadline_s))
        if not codes[0].done():
            calls.append(begin(max(0, deadline_s - after_s)))
            codes.append(asyncio.ensure_future(calls[1].code()))
        return calls[await _first(codes)]
    finally:
        for call, code in zip(calls, codes, strict=True):
            if not code.done():
                call.cancel()
            code.cancel()


async def _first(codes: list[asyncio.Future[grpc.StatusCode]]) -> int:
    """Return the index of the first call that ends without a retryable code, else of the last to end."""
    waiting = set(codes)
    while True:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        good = [code for code in done if code.result() not in RETRYABLE_CODES]
        if good or not waiting:
            return codes.index((good or list(done))[0])
