"""Room that threads share: each takes what it needs, waits if there is not enough, and gives it back."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Room:
    """A bounded amount of anything."""

    def __init__(self, size: int) -> None:
        """Share ``size``, which is at least what one thread can need."""
        self._left = size
        self._turn = threading.Lock()
        self._given_back = threading.Condition()

    @contextlib.contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Have so much within the block; who came first gets it first, however much it is."""
        with self._turn, self._given_back:
            self._given_back.wait_for(lambda: self._left >= size)
            self._left -= size
        try:
            yield
        finally:
            with self._given_back:
                self._left += size
                self._given_back.notify()
