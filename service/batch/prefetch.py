"""Reads inputs ahead of the engine: remote ones many at a time, streamed ones before they are gone."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from cifar10net.errors import ImageError
from service.batch.item import Item, ReadMode

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from cifar10net.errors import ImageErrorCode

READERS = 32
"""Remote items that are read at a time."""


def prefetch(items: Iterable[Item], readers: int = READERS) -> Generator[Item]:
    """Yield the items in order, each readable at any time; about ``readers`` are read ahead at most."""
    waiting: deque[tuple[Item, Future[bytes] | None]] = deque()
    pool: ThreadPoolExecutor | None = None
    try:
        for item in items:
            if item.read_mode in {ReadMode.DIRECT, ReadMode.IN_MEMORY} and not waiting:
                yield item
                continue
            future = None
            if item.read_mode is ReadMode.REMOTE:
                pool = pool or ThreadPoolExecutor(readers, thread_name_prefix="read")
                future = pool.submit(item.read)
            elif item.read_mode is ReadMode.STREAMED:
                future = _read_now(item)
            waiting.append((item, future))
            if pool is None or len(waiting) > readers:
                yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())
    finally:
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


def _read_now(item: Item) -> Future[bytes]:
    future: Future[bytes] = Future()
    try:
        future.set_result(item.read())
    except ImageError as error:
        future.set_exception(error.with_traceback(None))
    return future


def _finished(item: Item, future: Future[bytes] | None) -> Item:
    """Wait until an item is read."""
    if future is None:
        return item
    size = 0 if future.exception() else len(future.result())
    return Item(item.source, future.result, item.label, held_bytes=size)


def with_bytes(item: Item) -> Item:
    """Read an item; the one returned holds its bytes, or its error, and can be sent to another process."""
    try:
        data = item.read()
    except ImageError as error:
        return Item(item.source, partial(_fail, error.code, error.message), item.label)
    return Item(item.source, partial(bytes, data), item.label, held_bytes=len(data))


def _fail(code: ImageErrorCode, message: str) -> bytes:
    raise ImageError(code, message)
