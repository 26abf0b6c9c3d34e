"""Runs slow work beside the event loop, in a thread that does not hold up the end of the process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Result = TypeVar("_Result")
_Job: TypeAlias = "tuple[Callable[[], Any], asyncio.Future[Any]]"


class Background:
    """One thread, which does one thing after the other; it starts with the first.

    An executor's threads are waited for when the loop and the interpreter end, however long a model takes to
    load; this one is not. And always the same one: what it frees is where the next work allocates.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """Wait for some work; it goes on if the waiting is given up."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="background", daemon=True)
            self._thread.start()
        done: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
        self._jobs.put((work, done))
        try:
            return await done
        finally:
            del done  # or its error would hold it, by the traceback of this very frame

    def close(self) -> None:
        """Let the thread end after what it is at, without waiting for it."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            _do(*job)
            del job  # not to be held in memory until the next one


def _do(work: Callable[[], Any], done: asyncio.Future[Any]) -> None:
    result, error = None, None
    try:
        result = work()
    except BaseException as raised:  # noqa: BLE001 - handed to whoever waits
        error = raised
    with contextlib.suppress(RuntimeError):  # the loop is closed
        done.get_loop().call_soon_threadsafe(_tell, done, result, error)
    del done, error  # likewise


def _tell(done: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if done.done():  # nobody waits any more
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
