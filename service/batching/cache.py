"""Answers that were given before, kept in a bounded piece of memory.

In: calls as for a batcher. Out: their answers, bit for bit what the model said; from memory for the images
that it answered before, from the batcher for the others. Failures are never kept. Knows nothing of how a
batch is run.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from service.batching.batcher import Priority

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.batching.batcher import Batcher
    from service.batching.queue import Images, Probabilities
    from service.observability.timing import Timing

_KEY_BYTES = 16
# What an entry takes beside its row: the heads of two bytes objects, the key and its part of the tables. With
# a row of 10 classes it is 197 to 301 bytes by tracemalloc while 50,000 turn over, and malloc rounds up.
_ENTRY_BYTES = 288


class ResponseCache:
    """The rows last asked for, of all models together; the ones longest unused make room."""

    def __init__(self, limit_bytes: int) -> None:
        """Keep at most ``limit_bytes`` in memory, all costs counted."""
        self._limit_bytes = limit_bytes
        self._rows: OrderedDict[bytes, bytes] = OrderedDict()
        self.used_bytes = 0
        """Memory taken by what is kept."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Find the rows kept under some keys; None where there is none."""
        return [self._get(key) for key in keys]

    def put_many(self, keys: Sequence[bytes], rows: Sequence[bytes]) -> None:
        """Keep a row under each key, instead of the one that was there."""
        for key, row in zip(keys, rows, strict=True):
            self._drop(key)
            self._rows[key] = row
            self.used_bytes += _ENTRY_BYTES + len(row)
            while self.used_bytes > self._limit_bytes:
                self._drop(next(iter(self._rows)))

    def _get(self, key: bytes) -> bytes | None:
        row = self._rows.get(key)
        if row is not None:
            self._rows.move_to_end(key)
        return row

    def _drop(self, key: bytes) -> None:
        row = self._rows.pop(key, None)
        if row is not None:
            self.used_bytes -= _ENTRY_BYTES + len(row)


class CachedBatcher:
    """A batcher that is asked only for images it has not answered lately; used like it, in its event loop."""

    def __init__(
        self, batcher: Batcher, cache: ResponseCache, name: str, version: int, content: str = ""
    ) -> None:
        """Put a cache in front of a batcher.

        Args:
            batcher: answers what the cache does not know; started and closed by whoever made it.
            cache: may be shared by many models.
            name: of the model that the batcher runs.
            version: of it.
            content: digest of its file, which may be replaced; models that differ in any of the three never
                share an answer.
        """
        self._batcher = batcher
        self._cache = cache
        self._digest = blake2b(f"{len(name)}:{name}:{version}:{content}:".encode(), digest_size=_KEY_BYTES)

    def submit(
        self,
        images: Images,
        *,
        deadline_s: float | None = None,
        priority: Priority = Priority.NORMAL,
        timing: Timing | None = None,
    ) -> asyncio.Future[Probabilities]:
        """Ask for the answer to some images, as ``Batcher.submit`` does.

        An image that stands twice in a call, or in two calls at a time, is run twice. Looking an image
        up takes about 10 us, nearly all of it for its digest.
        """
        keys = [self._key(image) for image in images]
        known = self._cache.get_many(keys)
        unknown = [index for index, row in enumerate(known) if row is None]
        answered: asyncio.Future[Probabilities] = asyncio.get_running_loop().create_future()
        if timing is not None:
            timing.cached_images, timing.uncached_images = len(images) - len(unknown), len(unknown)
        if not unknown:
            answered.set_result(_merged(known, []))
            return answered
        asked = images if len(unknown) == len(images) else images[unknown]
        asking = self._batcher.submit(asked, deadline_s=deadline_s, priority=priority, timing=timing)
        asking.add_done_callback(partial(self._keep_and_answer, answered, keys, known))
        answered.add_done_callback(partial(_withdraw, asking))
        return answered

    def _key(self, image: Images) -> bytes:
        digest = self._digest.copy()
        digest.update(image.data)
        return digest.digest()

    def _keep_and_answer(
        self,
        answered: asyncio.Future[Probabilities],
        keys: list[bytes],
        known: list[bytes | None],
        asking: asyncio.Future[Probabilities],
    ) -> None:
        if asking.cancelled():
            answered.cancel()
            return
        error = asking.exception()
        rows = [] if error is not None else [row.tobytes() for row in asking.result()]
        if error is None:
            self._cache.put_many([key for key, row in zip(keys, known, strict=True) if row is None], rows)
        if answered.done():  # its caller hung up while the last batch was being handed out
            return
        if error is None:
            answered.set_result(_merged(known, rows))
        else:
            answered.set_exception(error)


def _withdraw(asking: asyncio.Future[Probabilities], answered: asyncio.Future[Probabilities]) -> None:
    if answered.cancelled():
        asking.cancel()


def _merged(known: list[bytes | None], others: list[bytes]) -> Probabilities:
    """Put the other rows where none is known, in order."""
    rest = iter(others)
    rows = bytearray().join([next(rest) if row is None else row for row in known])
    return np.frombuffer(rows, np.float32).reshape(len(known), -1)
