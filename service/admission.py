"""How many images are being worked on, and whether more may come in.

Counts from admission to answer, refuses what is over the limit, and tells a stopping server when the last
answer is out. To be used within one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from service.errors import NotServingError, OverloadedError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Admission:
    """The door that every call goes through."""

    def __init__(self, max_images: int) -> None:
        """Open the door for at most ``max_images`` unanswered images at a time."""
        self._max_images = max_images
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_closed = False
        self._last_call_s = asyncio.get_running_loop().time()
        self.images = 0
        """Images admitted and not yet answered."""

    @contextlib.contextmanager
    def admit(self, n: int) -> Iterator[None]:
        """Count a call of ``n`` images in until the block ends.

        Raises:
            NotServingError: the door is closed.
            OverloadedError: there would be more images than the limit.
        """
        self._last_call_s = asyncio.get_running_loop().time()
        if self._is_closed:
            raise NotServingError("the server is stopping; ask again, elsewhere if you can")
        if self.images + n > self._max_images:
            raise OverloadedError(
                f"{self.images:,} images are waiting and this call has {n:,}, more than the "
                f"{self._max_images:,} that this server holds; retry with backoff"
            )
        self.images += n
        self._idle.clear()
        try:
            yield
        finally:
            self.images -= n
            if self.images == 0:
                self._idle.set()

    def close(self) -> None:
        """Refuse every further call; admitted ones go on."""
        self._is_closed = True

    async def idle(self) -> None:
        """Wait until every admitted image is answered."""
        await self._idle.wait()

    async def quiet(self, seconds: float, *, at_most_s: float) -> None:
        """Wait until no call has come for some seconds, or ``at_most_s`` have passed."""
        loop = asyncio.get_running_loop()
        end = loop.time() + at_most_s
        while (left := min(end, self._last_call_s + seconds) - loop.time()) > 0:  # noqa: ASYNC110 - it waits for time, not an event
            await asyncio.sleep(left)
