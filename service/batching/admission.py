"""How many images are being worked on, and whether more may come in.

Counts from admission to answer. Calls over the limit are refused, messages of a stream wait for room. To be
used within one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque

from service.errors import OverloadedError

_MOST_PASSED = 1_000


class Admission:
    """The door that every call goes through."""

    def __init__(self, max_images: int) -> None:
        """Open the door for at most ``max_images`` unanswered images at a time."""
        self._max_images = max_images
        self._waiting: deque[_Turn] = deque()
        self._passed = 0
        """Calls that were admitted while the first of those who wait did."""
        self.images = 0
        """Images admitted and not yet answered."""

    def admit(self, n: int) -> Admitted:
        """Count a call of ``n`` images in until the block ends, as in ``with admission.admit(n):``.

        Raises:
            OverloadedError: there would be more images than the limit.
        """
        # Small calls always find room where a large message does not: they pass it only so often.
        reserved = self._waiting[0].n if self._waiting and self._passed >= _MOST_PASSED else 0
        if self.images + n + reserved > self._max_images:
            raise OverloadedError(
                f"{self.images:,} images are waiting and this call has {n:,}, more than the "
                f"{self._max_images:,} that this server holds; retry with backoff"
            )
        self._passed += bool(self._waiting)
        return Admitted(self, n)

    async def room(self, n: int) -> None:
        """Wait until ``n`` images fit, in the order of asking; they are then admitted without a pause."""
        if not self._waiting and self.images + n <= self._max_images:
            return
        turn = _Turn(n)
        self._waiting.append(turn)
        try:
            while self._waiting[0] is not turn or self.images + n > self._max_images:
                await turn.looks.wait()
                turn.looks.clear()
        finally:
            self._waiting.remove(turn)
            self._passed = 0
            self.wake()

    def wake(self) -> None:
        """Let the first of those who wait for room look again."""
        if self._waiting:
            self._waiting[0].looks.set()


class _Turn:
    """One of those who wait for room."""

    __slots__ = ("looks", "n")

    def __init__(self, n: int) -> None:
        self.n = n
        self.looks = asyncio.Event()


class Admitted:
    """Images that are counted in while the block of a ``with`` runs."""

    __slots__ = ("_admission", "_n")

    def __init__(self, admission: Admission, n: int) -> None:
        self._admission = admission
        self._n = n

    def __enter__(self) -> None:
        self._admission.images += self._n

    def __exit__(self, *exception: object) -> None:
        self._admission.images -= self._n
        self._admission.wake()
