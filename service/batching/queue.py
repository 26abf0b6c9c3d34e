"""The calls that wait for one model, in the order in which their images are taken."""

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


class PendingCall:
    """One caller's images, and the rows of their answer so far."""

    __slots__ = ("arrived_s", "deadline_s", "future", "images", "left", "parts", "queue", "share", "timing")

    def __init__(  # noqa: PLR0913, PLR0917 - made in one place, for every call: keywords take time
        self,
        images: Images,
        future: asyncio.Future[Probabilities],
        queue: Queue,
        arrived_s: float,
        deadline_s: float | None,
        timing: Timing | None,
    ) -> None:
        self.images = images
        self.future = future
        future.add_done_callback(self.on_done)
        self.queue = queue
        self.arrived_s = arrived_s
        self.deadline_s = deadline_s
        self.timing = timing
        self.left = len(images)
        """Images not yet taken: the last ones of ``images``."""
        self.share = 0
        """How many of them may still be taken before the next call's turn."""
        self.parts: _PartialAnswer | None = None

    def on_done(self, _: asyncio.Future[Probabilities]) -> None:
        """Withdraw the remaining images: the caller hung up."""
        self.queue.drop(self)

    def fail(self, error: BaseException) -> None:
        """Withdraw the remaining images and raise an error at the caller."""
        self.queue.drop(self)
        if not self.future.done():
            self.future.set_exception(error)

    def answer(self, start: int, rows: Probabilities) -> None:
        """Add the rows of the images from ``start`` on."""
        if self.future.done():  # its caller hung up; the other calls of the batch are still answered
            return
        if len(rows) == len(self.images):
            self.future.set_result(rows)
            return
        if self.parts is None:
            self.parts = _PartialAnswer(len(self.images), rows)
        if self.parts.add(start, rows):
            self.future.set_result(self.parts.rows)


class _PartialAnswer:
    """The rows so far of a call that was split over several batches."""

    def __init__(self, total: int, some: Probabilities) -> None:
        self.rows = np.empty((total, *some.shape[1:]), some.dtype)
        self._missing = total

    def add(self, start: int, rows: Probabilities) -> bool:
        """Add rows; return whether all are there now."""
        self.rows[start : start + len(rows)] = rows
        self._missing -= len(rows)
        return not self._missing


Part: TypeAlias = tuple["PendingCall", int, Images]
"""Images of one call in one batch: the call, the index of the first, the images."""


class Queue:
    """The waiting calls of one priority, in the order in which they are taken."""

    def __init__(self, max_batch: int) -> None:
        self._max_batch = max_batch
        self._due: OrderedDict[PendingCall, None] = OrderedDict()  # ordered dicts: any call can leave in O(1)
        self._rest: OrderedDict[PendingCall, None] = OrderedDict()
        """Calls that have had their share; they only fill batches that would otherwise not be full."""
        self.images = 0
        """Waiting images of all calls."""
        self.ahead = 0
        """Those of them that would be taken before a call that arrives now."""

    def calls(self) -> list[PendingCall]:
        """Return all calls with waiting images."""
        return [*self._due, *self._rest]

    def add(self, call: PendingCall) -> None:
        """Append a new call."""
        self.images += call.left
        self._append(call)

    def rejoin(self, call: PendingCall) -> None:
        """Append a call whose share has been run, behind all that arrived meanwhile."""
        if call in self._rest:
            del self._rest[call]
            self._append(call)

    def first(self) -> PendingCall:
        """Return the call whose turn it is; there must be one."""
        return next(iter(self._due or self._rest))

    def take(self, call: PendingCall, capacity: int) -> int:
        """Take images of the first call, as its share and the capacity allow; return how many."""
        if call.share:
            n = min(capacity, call.share)
            call.share -= n
            self.ahead -= n
            if not call.share:
                del self._due[call]
                if call.left > n:
                    self._rest[call] = None
        else:
            n = min(capacity, call.left)
            if n == call.left:
                del self._rest[call]
        call.left -= n
        self.images -= n
        if not call.left:  # nothing left to withdraw: spare the event loop a callback per call
            call.future.remove_done_callback(call.on_done)
        return n

    def drop(self, call: PendingCall) -> None:
        """Forget the remaining images of a call."""
        self.images -= call.left
        self.ahead -= call.share
        call.left = call.share = 0
        self._due.pop(call, None)
        self._rest.pop(call, None)

    def _append(self, call: PendingCall) -> None:
        call.share = min(self._max_batch, call.left)
        self.ahead += call.share
        self._due[call] = None
