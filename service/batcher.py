"""Many callers, one run of the model, each caller its own answer.

In: arrays of images, each with a caller that waits. Out: to each caller the rows of its own images, in
order. A free model never waits while images do; a batch is what has gathered meanwhile, up to
``max_batch`` images. A call of more images is taken in slices, and what is left of it queues up again after
each: a small call waits for the batch that runs when it comes and for the calls before it, never for the
rest of a large one. Knows nothing of gRPC, pictures or classes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from service.errors import NotServingError

if TYPE_CHECKING:
    from collections.abc import Callable

from enum import Enum

Priority = Enum("Priority", "NORMAL BULK")
Images = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]


@dataclass(eq=False)
class _Call:
    """One caller's images and what is known of their answers."""

    images: Images
    answered: asyncio.Future[Probabilities]
    taken: int = 0
    parts: list[Probabilities] = field(default_factory=list)


class Batcher:
    """Joins waiting calls into batches for one model; to be used within one event loop."""

    def __init__(self, run: Callable[[Images], Probabilities], max_batch: int) -> None:
        """Make a batcher; nothing runs before ``start``.

        Args:
            run: the model: uint8 (n, ...) to float32 (n, classes); called in a thread of its own,
                never twice at a time.
            max_batch: most images a run.
        """
        self._run = run[0]
        self._max_batch = max_batch
        self._waiting: deque[_Call] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to answer."""
        self._loop = asyncio.create_task(self._serve(), name="batcher")

    async def submit(self, images: Images, *, deadline_s=None, priority=None) -> Probabilities:
        """Wait for the answer to some images.

        Cancelling the wait withdraws the images that have not been taken into a batch.

        Args:
            images: uint8 (n, ...), n at least 1.

        Returns:
            float32 (n, classes), row by row as the images came.

        Raises:
            NotServingError: the batcher was closed before the answer was complete.
            Exception: whatever the model raised for a batch with one of these images.
        """
        if self._loop is None or self._loop.done():
            raise NotServingError("the server is stopping; ask again, elsewhere if you can")
        call = _Call(images, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._arrived.set()
        return await call.answered

    async def close(self) -> None:
        """Stop at once: whoever still waits gets NotServingError, and a running batch is not waited for."""
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _serve(self) -> None:
        batch: list[tuple[_Call, Images]] = []
        try:
            while True:
                batch = self._next_batch()
                if batch:
                    await self._answer(batch)
                else:
                    self._arrived.clear()
                    await self._arrived.wait()
        finally:
            stopping = NotServingError("the server stopped before it could answer; ask again")
            for call in (*(call for call, _ in batch), *self._waiting):
                if not call.answered.done():
                    call.answered.set_exception(stopping)
            self._waiting.clear()

    def _next_batch(self) -> list[tuple[_Call, Images]]:
        """Take up to ``max_batch`` images from the waiting calls, each once at most."""
        batch: list[tuple[_Call, Images]] = []
        free = self._max_batch
        while free and self._waiting:
            call = self._waiting.popleft()
            if call.answered.done():  # its caller hung up
                continue
            rows = call.images[call.taken : call.taken + free]
            call.taken += len(rows)
            free -= len(rows)
            batch.append((call, rows))
        return batch

    async def _answer(self, batch: list[tuple[_Call, Images]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            images = batch[0][1] if len(batch) == 1 else np.concatenate([rows for _, rows in batch])
            probabilities = await loop.run_in_executor(self._thread, self._run, images)
            self._hand_out(batch, probabilities)
        except Exception as error:  # noqa: BLE001 - handed to the callers it belongs to
            for call, _ in batch:
                if not call.answered.done():
                    call.answered.set_exception(error)

    def _hand_out(self, batch: list[tuple[_Call, Images]], probabilities: Probabilities) -> None:
        start = 0
        for call, rows in batch:
            call.parts.append(probabilities[start : start + len(rows)])
            start += len(rows)
            if call.taken < len(call.images):
                self._waiting.append(call)  # behind whoever came while this batch ran
            elif not call.answered.done():
                # A caller that hung up has cancelled its future; its batch-mates are answered all the same.
                call.answered.set_result(
                    call.parts[0] if len(call.parts) == 1 else np.concatenate(call.parts)
                )
