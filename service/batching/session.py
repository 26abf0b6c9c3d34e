"""One instance of the model, in a thread of its own."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from service.batching.queue import Images, Part, Probabilities

    Finish: TypeAlias = Callable[["Session", Probabilities | BaseException, float, float], None]
    """Takes the session, what the model returned or raised, and when the run began and ended."""


class Session:
    """Runs one batch at a time."""

    def __init__(self, run: Callable[[Images], Probabilities], clock: Callable[[], float]) -> None:
        self._run = run
        self._clock = clock
        # A bare thread and a SimpleQueue: 40 us of CPU a hand-over there and back, where a
        # ThreadPoolExecutor takes 85 us and run_in_executor 140 us (2 cores of a Xeon, uvloop).
        self._inbox: SimpleQueue[list[Images] | None] = SimpleQueue()
        self.batch: list[Part] = []
        """The batch that is running."""
        self.retries: deque[Part] = deque()
        """Parts of a failed batch, to be run one by one."""

    def start(self, loop: asyncio.AbstractEventLoop, finish: Finish) -> None:
        """Start the thread; ``finish`` is called in the event loop after each run."""
        # A daemon: a model that hangs must not hold up the end of the process.
        threading.Thread(target=self._work, args=(loop, finish), name="model", daemon=True).start()

    def run(self, batch: list[Part]) -> None:
        """Hand a batch to the thread, which must be idle."""
        self.batch = batch
        self._inbox.put([images for _, _, images in batch])

    def stop(self) -> None:
        """End the thread after its current run, without waiting for it."""
        self._inbox.put(None)

    def _work(self, loop: asyncio.AbstractEventLoop, finish: Finish) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for the outcome
            while (parts := self._inbox.get()) is not None:
                began_s = self._clock()
                outcome = self._try(parts)
                loop.call_soon_threadsafe(finish, self, outcome, began_s, self._clock())
                del parts, outcome  # not to be held in memory until the next batch

    def _try(self, parts: list[Images]) -> Probabilities | BaseException:
        try:
            images = parts[0] if len(parts) == 1 else np.concatenate(parts)
            rows = self._run(images)
            if len(rows) != len(images):
                raise RuntimeError(f"the model answered {len(rows)} rows to {len(images)} images")
        except BaseException as error:  # noqa: BLE001 - handed to the callers it belongs to
            return error
        return rows
