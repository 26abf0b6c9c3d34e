"""How far a stream reads ahead of the results that its caller has taken."""

from __future__ import annotations

import threading


class ReadAheadWindow:
    """Images and bytes that may still be read; thread-safe."""

    def __init__(self, images: int, size_bytes: int) -> None:
        self._images = images
        self._bytes = size_bytes
        self._released = threading.Condition()
        self._is_closed = False

    @property
    def has_room(self) -> bool:
        """Whether another image may be read; the last one may exceed the bytes."""
        return self._images > 0 and self._bytes > 0

    def wait(self) -> bool:
        """Block until there is room; False if the window was closed."""
        with self._released:
            self._released.wait_for(lambda: self._is_closed or self.has_room)
            return not self._is_closed

    def acquire(self, size_bytes: int) -> None:
        """Count an image that was read, without waiting."""
        with self._released:
            self._images -= 1
            self._bytes -= size_bytes

    def release(self, images: int, size_bytes: int) -> None:
        """Return the images that were taken and the bytes that were answered."""
        with self._released:
            self._images += images
            self._bytes += size_bytes
            self._released.notify_all()

    def close(self) -> None:
        """Stop reading."""
        with self._released:
            self._is_closed = True
            self._released.notify_all()
