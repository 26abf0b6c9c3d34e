"""The calls that wait for one model, in the order in which their images are taken.

In: calls, each with a future. Out: whose images come next and how many, the answer put together from its
parts. Knows nothing of threads, batches or time.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import asyncio

    from service.observability.timing import Timing

Images: TypeAlias = npt.NDArray[np.uint8]
Probabilities: TypeAlias = npt.NDArray[np.float32]


class Call:
    """One caller's images and what is known of their answers."""

    __slots__ = ("answered", "came_s", "deadline_s", "images", "left", "line", "share", "split", "timing")

    def __init__(  # noqa: PLR0913, PLR0917 - made in one place, for every call: keywords take time
        self,
        images: Images,
        answered: asyncio.Future[Probabilities],
        line: Line,
        came_s: float,
        deadline_s: float | None,
        timing: Timing | None,
    ) -> None:
        self.images = images
        self.answered = answered
        answered.add_done_callback(self.on_done)
        self.line = line
        self.came_s = came_s
        self.deadline_s = deadline_s
        self.timing = timing
        self.left = len(images)
        """Images not yet taken, the last ones of ``images``."""
        self.share = 0
        """How many of them it may still have taken before the next call's turn."""
        self.split: _Split | None = None

    def on_done(self, _: asyncio.Future[Probabilities]) -> None:
        """Withdraw what is left of it: its caller hung up."""
        self.line.drop(self)

    def fail(self, error: BaseException) -> None:
        """Tell its caller, and run no more of it."""
        self.line.drop(self)
        if not self.answered.done():
            self.answered.set_exception(error)

    def answer(self, start: int, rows: Probabilities) -> None:
        """Put in the rows of the images from ``start`` on."""
        if self.answered.done():  # its caller hung up; its batch-mates are answered all the same
            return
        if len(rows) == len(self.images):
            self.answered.set_result(rows)
            return
        if self.split is None:
            self.split = _Split(len(self.images), rows)
        if self.split.is_complete_with(start, rows):
            self.answered.set_result(self.split.rows)


class _Split:
    """The answer in the making, of a call that was taken in several parts."""

    def __init__(self, total: int, some: Probabilities) -> None:
        self.rows = np.empty((total, *some.shape[1:]), some.dtype)
        self._missing = total

    def is_complete_with(self, start: int, rows: Probabilities) -> bool:
        """Put in some rows and say whether all are there now."""
        self.rows[start : start + len(rows)] = rows
        self._missing -= len(rows)
        return not self._missing


Part: TypeAlias = tuple["Call", int, Images]
"""Images of one call in one batch: the call, where they begin in it, and they themselves."""


class Line:
    """The calls of one priority, in the order in which they are taken."""

    def __init__(self, max_batch: int) -> None:
        self._max_batch = max_batch
        self._due: OrderedDict[Call, None] = OrderedDict()  # ordered dicts: any call leaves at once
        self._rest: OrderedDict[Call, None] = OrderedDict()
        """Calls that have had their share; they fill the room that nobody else wants."""
        self.images = 0
        """Images that wait, of all calls."""
        self.ahead = 0
        """Those of them that would be taken before a call that comes now."""

    def calls(self) -> list[Call]:
        """All calls with images that wait."""
        return [*self._due, *self._rest]

    def add(self, call: Call) -> None:
        """Let a new call queue up."""
        self.images += call.left
        self._queue_up(call)

    def rejoin(self, call: Call) -> None:
        """Let a call whose images have just been run queue up again, behind whoever came meanwhile."""
        if call in self._rest:
            del self._rest[call]
            self._queue_up(call)

    def first(self) -> Call:
        """Find the call whose turn it is; there must be one."""
        return next(iter(self._due or self._rest))

    def take(self, call: Call, room: int) -> int:
        """Take images of the first call, as many as its share and the room allow; return how many."""
        if call.share:
            n = min(room, call.share)
            call.share -= n
            self.ahead -= n
            if not call.share:
                del self._due[call]
                if call.left > n:
                    self._rest[call] = None
        else:
            n = min(room, call.left)
            if n == call.left:
                del self._rest[call]
        call.left -= n
        self.images -= n
        if not call.left:  # nothing to withdraw any more: spare the event loop a callback a call
            call.answered.remove_done_callback(call.on_done)
        return n

    def drop(self, call: Call) -> None:
        """Forget what is left of a call, and so its images."""
        self.images -= call.left
        self.ahead -= call.share
        call.left = call.share = 0
        self._due.pop(call, None)
        self._rest.pop(call, None)

    def _queue_up(self, call: Call) -> None:
        call.share = min(self._max_batch, call.left)
        self.ahead += call.share
        self._due[call] = None
