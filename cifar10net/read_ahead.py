"""How far a stream may read ahead of what its caller has taken: so many images, so many bytes.

In: what is read, answered and taken, from any thread. Out: whether one more may be read. Knows nothing of
what is read.
"""

from __future__ import annotations

import threading


class Allowance:
    """Safe to share between threads."""

    def __init__(self, images: int, size_bytes: int) -> None:
        self._images = images
        self._bytes = size_bytes
        self._freed = threading.Condition()
        self._is_closed = False

    @property
    def has_room(self) -> bool:
        """Whether one more image may be read; the last one may be of any size."""
        return self._images > 0 and self._bytes > 0

    def wait(self) -> bool:
        """Wait for room; False if there will be none, since nobody wants further images."""
        with self._freed:
            self._freed.wait_for(lambda: self._is_closed or self.has_room)
            return not self._is_closed

    def take(self, size_bytes: int) -> None:
        """Count an image that was read."""
        with self._freed:
            self._images -= 1
            self._bytes -= size_bytes

    def give(self, images: int, size_bytes: int) -> None:
        """Count back images that were taken, and bytes that were answered."""
        with self._freed:
            self._images += images
            self._bytes += size_bytes
            self._freed.notify_all()

    def close(self) -> None:
        """Have nothing read any more."""
        with self._freed:
            self._is_closed = True
            self._freed.notify_all()
