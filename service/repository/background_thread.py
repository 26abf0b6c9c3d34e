"""Runs slow work beside the event loop, in a thread that never delays the exit of the process."""

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


class BackgroundThread:
    """One thread, started by the first job, that runs jobs in order.

    Loop and interpreter wait for an executor's threads at exit, however long a model takes to load, but not
    for this one. It is always the same thread, so that a job allocates where the one before has freed.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """Run a function and return its result; cancelling does not stop the function."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="background", daemon=True)
            self._thread.start()
        done: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
        self._jobs.put((work, done))
        try:
            return await done
        finally:
            del done  # the traceback of its error holds this frame: break the cycle

    def close(self) -> None:
        """End the thread after its queued jobs, without waiting for it."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            _run_job(*job)
            del job  # not to be held in memory until the next one


def _run_job(work: Callable[[], Any], done: asyncio.Future[Any]) -> None:
    result, error = None, None
    try:
        result = work()
    except BaseException as raised:  # noqa: BLE001 - handed to the caller
        error = raised
    with contextlib.suppress(RuntimeError):  # the loop is closed
        done.get_loop().call_soon_threadsafe(_resolve, done, result, error)
    del done, error  # as above


def _resolve(done: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if done.done():  # nobody waits any more
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
