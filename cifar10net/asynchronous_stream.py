"""A stream of images for asyncio: as ``blocking_stream``, with tasks of one event loop instead of threads.

An ordinary iterable is still read in a thread, so as not to block the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio

from cifar10net.base_stream import BaseStream
from cifar10net.failures import Failure, RefusedError
from cifar10net.image_reader import JOIN_TIMEOUT_S, ImageReader, may_block, read_image

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable

    from cifar10net.errors import ImageError
    from cifar10net.messages import ImageLike, ImageResult
    from cifar10net.pb import classifier_pb2 as pb

    Call = grpc.aio.StreamStreamCall[pb.ClassifyStreamRequest, pb.ClassifyStreamResponse]

_WRITE_FAILED = "Internal error from Core"
_STATUS_POLLS = 500
_STATUS_POLL_S = 0.002
_BROKEN = Failure(grpc.StatusCode.UNAVAILABLE, "the stream broke off")


class AsynchronousStream(BaseStream):
    """All state belongs to the event loop."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401
        """Create a stream; arguments as ``BaseStream``."""
        super().__init__(*arguments)
        self._changed = asyncio.Event()
        """Set when an image was read, answered or taken, and at every end: all waiting tasks check again."""
        self._call: Call | None = None

    async def results(
        self, images: Iterable[ImageLike] | AsyncIterable[ImageLike]
    ) -> AsyncGenerator[ImageResult, None]:
        """Yield the results in order; raises as ``Client.classify_stream``."""
        tasks = [asyncio.create_task(self._receive())]
        reader: ImageReader | None = None
        if isinstance(images, AsyncIterable):
            tasks.append(asyncio.create_task(self._read(images)))
        else:
            reader = self._start_reader(images)
        del images
        try:
            while (result := await self._next()) is not None:
                yield result
        finally:
            self._window.close()
            if self._is_finished:  # the call ends by itself, with its status
                await asyncio.wait(tasks[:1], timeout=JOIN_TIMEOUT_S)
            if self._call is not None:
                self._call.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if reader is not None and reader.is_alive():
                await asyncio.to_thread(reader.join, JOIN_TIMEOUT_S)

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    # -- for the caller

    async def _next(self) -> ImageResult | None:
        while (result := self._take()) is None and not self._is_finished:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._remaining_s()):
                    await self._wait_for_change()
        self._changed.set()
        return result

    # -- reading

    def _start_reader(self, images: Iterable[ImageLike]) -> ImageReader:
        loop = asyncio.get_running_loop()

        def in_loop(method: Callable[[Any], None], argument: Any) -> None:  # noqa: ANN401
            with contextlib.suppress(RuntimeError):  # the loop may be closed by then
                loop.call_soon_threadsafe(method, argument)

        reader = ImageReader(
            images, self._window, partial(in_loop, self._add), partial(in_loop, self._finish)
        )
        reader.start()
        return reader

    async def _read(self, images: AsyncIterable[ImageLike]) -> None:
        """Read in the loop; files are read and images resized in a thread."""
        error: BaseException | None = None
        try:
            iterator, index = aiter(images), 0
            while True:
                while not self._window.has_room:
                    await self._wait_for_change()
                image = await anext(iterator)
                if may_block(image):
                    self._add(await asyncio.to_thread(read_image, image, index, self._window))
                else:
                    self._add(read_image(image, index, self._window))
                index += 1
        except StopAsyncIteration:
            pass
        except Exception as raised:  # noqa: BLE001 - the caller's, and raised where the caller waits
            error = raised
        self._finish(error)

    def _add(self, image: pb.Image | ImageError) -> None:
        self._backlog.add(image)
        self._changed.set()

    def _finish(self, error: BaseException | None) -> None:
        self._is_read, self._source_error = True, error
        self._changed.set()

    # -- sending

    async def _requests(self, generation: int) -> AsyncIterator[pb.ClassifyStreamRequest]:
        while generation == self._generation:
            if (request := self._backlog.next_request()) is not None:
                yield request
            elif self._is_answered:
                return
            else:
                await self._wait_for_change()

    # -- receiving

    async def _receive(self) -> None:
        try:
            while await self._wait_for_images():
                failure = await self._run_call()
                if failure is not None:
                    await self._recover(failure)
        except Exception as error:  # noqa: BLE001 - raised where the caller waits
            self._failure = error
            self._changed.set()

    async def _wait_for_images(self) -> bool:
        """Wait for images to send; False if there will be none."""
        while not self._backlog.has_unsent:
            if self._is_read:
                return False
            await self._wait_for_change()
        return True

    async def _run_call(self) -> Failure | None:
        """Send and receive on one gRPC call until it ends."""
        self._generation += 1
        call: Call = self._open(self._requests(self._generation), self._retries.has_succeeded)
        self._call = call
        status = _ServerStatus(call)
        try:
            async for reply in call:
                self._backlog.accept(reply)
                self._retries.record_success()
                self._changed.set()
        except grpc.RpcError:
            failure = await status.failure()
            if failure.code is not grpc.StatusCode.OK:  # else the server ended it while we were writing
                return failure
        except RefusedError as refused:
            call.cancel()
            return refused.failure
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # gRPC cancels a call whose message it could not write, whatever status the server sent.
            return _BROKEN
        finally:
            self._generation += 1
            self._changed.set()
        return self._unfinished()

    async def _recover(self, failure: Failure) -> None:
        """Requeue unanswered images and wait for the next attempt. Raises ClientError if there is none."""
        if self._backlog.restart(failure):
            self._changed.set()
            return
        await asyncio.sleep(self._retries.delay_s(failure))


class _ServerStatus:
    """The status that the server sent for a call.

    When gRPC cannot write a message, it reports an internal error of its own instead of the server's status,
    which may come before or after. So a status is recorded when it is set, and otherwise polled for.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._failure: Failure | None = None
        call.add_done_callback(self._record)

    def _record(self, call: Call) -> None:
        failure = _run_without_waiting(_failure_of(call))
        if failure.details != _WRITE_FAILED and self._failure is None:
            self._failure = failure

    async def failure(self) -> Failure:
        """Return the status once it is known."""
        for _ in range(_STATUS_POLLS):
            self._record(self._call)
            if self._failure is not None:
                return self._failure
            await asyncio.sleep(_STATUS_POLL_S)
        return _BROKEN


async def _failure_of(call: Call) -> Failure:
    return Failure.from_status(await call.code(), await call.details(), await call.trailing_metadata())


def _run_without_waiting(coroutine: Coroutine[Any, Any, Failure]) -> Failure:
    """Run a coroutine that never waits, such as one that asks an ended call for its status."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return cast("Failure", end.value)
    coroutine.close()
    raise RuntimeError("an ended call did not know its status")
