"""A memory budget that threads share."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class MemoryBudget:
    """A number of bytes; reservations beyond it wait, first come first served."""

    def __init__(self, size: int) -> None:
        """Share ``size`` bytes, at least the largest single reservation."""
        self._left = size
        self._turn = threading.Lock()
        self._released = threading.Condition()

    @contextlib.contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Hold ``size`` bytes within the block."""
        with self._turn, self._released:
            self._released.wait_for(lambda: self._left >= size)
            self._left -= size
        try:
            yield
        finally:
            with self._released:
                self._left += size
                self._released.notify()
