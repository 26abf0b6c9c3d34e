"""Has inputs read in time: those from far away many at once, those that pass by before they are gone.

Items go in, the same items come out in their order, each of which can be read at any time. What is read and
not yet asked for is bounded by the number of readers. ``kept`` reads one for another process. Knows nothing
of where items come from.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from cifar10net.errors import ImageError
from service.batch.item import Item, Reading

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from cifar10net.errors import ImageErrorCode

READERS = 32
"""Reads of slow items at a time."""


def ahead(items: Iterable[Item], readers: int = READERS) -> Generator[Item]:
    """Pass items on, those that are slow to read, or gone soon, with what was read."""
    waiting: deque[tuple[Item, Future[bytes] | None]] = deque()
    pool: ThreadPoolExecutor | None = None
    try:
        for item in items:
            if item.reading in {Reading.ANY_TIME, Reading.HERE} and not waiting:
                yield item
                continue
            future = None
            if item.reading is Reading.SLOW:
                pool = pool or ThreadPoolExecutor(readers, thread_name_prefix="read")
                future = pool.submit(item.read)
            elif item.reading is Reading.NOW:
                future = _read_now(item)
            waiting.append((item, future))
            if pool is None or len(waiting) > readers:
                yield _held(*waiting.popleft())
        while waiting:
            yield _held(*waiting.popleft())
    finally:
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


def _read_now(item: Item) -> Future[bytes]:
    outcome: Future[bytes] = Future()
    try:
        outcome.set_result(item.read())
    except ImageError as error:
        outcome.set_exception(error)
    return outcome


def _held(item: Item, future: Future[bytes] | None) -> Item:
    """Wait until an item is read."""
    if future is None:
        return item
    size = 0 if future.exception() else len(future.result())
    return Item(item.source, future.result, item.label, held_bytes=size)


def kept(item: Item) -> Item:
    """Read an item, and return it with its bytes, or its error, so that another process can be sent it."""
    try:
        data = item.read()
    except ImageError as error:
        return Item(item.source, partial(_fail, error.code, error.message), item.label)
    return Item(item.source, partial(bytes, data), item.label, held_bytes=len(data))


def _fail(code: ImageErrorCode, message: str) -> bytes:
    raise ImageError(code, message)
