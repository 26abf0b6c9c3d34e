"""Admission control: how many images may be in flight at once.

An image counts from admission to answer. A call over the limit is refused; a message of a stream waits for
capacity. For use within one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from service.errors import OverloadedError

_MAX_OVERTAKES = 1_000


class Admission:
    """Counts the images in flight and limits them."""

    def __init__(self, max_images: int) -> None:
        """Admit at most ``max_images`` unanswered images at a time."""
        self._max_images = max_images
        self._waiting: deque[_Waiter] = deque()
        self._overtakes = 0
        """Calls admitted while the first waiter waited."""
        self.images = 0
        """Images admitted and not yet answered."""

    def admit(self, n: int) -> Admitted:
        """Count a call's images within a block: ``with admission.admit(n):``, or raise OverloadedError."""
        # Small calls fit where a large message does not; without a bound they would starve it.
        reserved = self._waiting[0].n if self._waiting and self._overtakes >= _MAX_OVERTAKES else 0
        if self.images + n + reserved > self._max_images:
            raise OverloadedError(
                f"{self.images:,} images are waiting and this call has {n:,}, more than the "
                f"{self._max_images:,} that this server holds; retry with backoff"
            )
        self._overtakes += bool(self._waiting)
        return Admitted(self, n)

    async def wait_for_capacity(self, n: int) -> None:
        """Wait, first come first served, until ``n`` images fit; call ``admit`` next, without awaiting."""
        if not self._waiting and self.images + n <= self._max_images:
            return
        waiter = _Waiter(n, asyncio.Event())
        self._waiting.append(waiter)
        try:
            while self._waiting[0] is not waiter or self.images + n > self._max_images:
                await waiter.changed.wait()
                waiter.changed.clear()
        finally:
            self._waiting.remove(waiter)
            self._overtakes = 0
            self.wake()

    def wake(self) -> None:
        """Let the first waiter check the capacity again."""
        if self._waiting:
            self._waiting[0].changed.set()


class _Waiter(NamedTuple):
    n: int
    changed: asyncio.Event


class Admitted:
    """Context manager that counts images in and out."""

    __slots__ = ("_admission", "_n")

    def __init__(self, admission: Admission, n: int) -> None:
        self._admission = admission
        self._n = n

    def __enter__(self) -> None:
        self._admission.images += self._n

    def __exit__(self, *exception: object) -> None:
        self._admission.images -= self._n
        self._admission.wake()
