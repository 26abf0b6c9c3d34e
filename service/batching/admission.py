"""How many images are being worked on, and whether more may come in.

Counts from admission to answer. Calls over the limit are refused, messages of a stream wait for room. To be
used within one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from service.errors import OverloadedError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Admission:
    """The door that every call goes through."""

    def __init__(self, max_images: int) -> None:
        """Open the door for at most ``max_images`` unanswered images at a time."""
        self._max_images = max_images
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.images = 0
        """Images admitted and not yet answered."""

    @contextlib.contextmanager
    def admit(self, n: int) -> Iterator[None]:
        """Count a call of ``n`` images in until the block ends.

        Raises:
            OverloadedError: there would be more images than the limit.
        """
        if self.images + n > self._max_images:
            raise OverloadedError(
                f"{self.images:,} images are waiting and this call has {n:,}, more than the "
                f"{self._max_images:,} that this server holds; retry with backoff"
            )
        self.images += n
        try:
            yield
        finally:
            self.images -= n
            self._wake()

    async def room(self, n: int) -> None:
        """Wait until ``n`` images fit, in the order of asking; they are then admitted without a pause."""
        if not self._waiting and self.images + n <= self._max_images:
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            while self._waiting[0] is not turn or self.images + n > self._max_images:
                await turn
                fresh = asyncio.get_running_loop().create_future()
                self._waiting[self._waiting.index(turn)] = fresh
                turn = fresh
        finally:
            self._waiting.remove(turn)
            self._wake()

    def _wake(self) -> None:
        """Let the first of those who wait look again."""
        if self._waiting and not self._waiting[0].done():
            self._waiting[0].set_result(None)
