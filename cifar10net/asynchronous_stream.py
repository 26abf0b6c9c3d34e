"""A stream of images for asyncio: the same as ``blocking_stream`` in tasks of one event loop.

In: an iterable, asynchronous or not, and how a stream is opened. Out: an asynchronous generator of results.
An ordinary iterable is read in a thread, so that the loop goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio

from cifar10net.backlog import Backlog
from cifar10net.failures import Attempts, Failure, RefusedError
from cifar10net.image_reader import LEAVE_S, Reader, may_block, read
from cifar10net.read_ahead import Allowance
from cifar10net.stream_deadline import late, left_s, unfinished

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable

    from cifar10net.config import ClientConfig
    from cifar10net.errors import ImageError
    from cifar10net.messages import ImageLike, ImageResult
    from cifar10net.pb import classifier_pb2 as pb
    from cifar10net.request_options import Question

    Call = grpc.aio.StreamStreamCall[pb.ClassifyStreamRequest, pb.ClassifyStreamResponse]
    Open = Callable[[AsyncIterator[pb.ClassifyStreamRequest], bool], Call]

_UNWRITTEN = "Internal error from Core"
_LOOKS = 500
_LOOK_S = 0.002
"""For the server's status, after a message that could not be written."""
_BROKEN_OFF = Failure(grpc.StatusCode.UNAVAILABLE, "the stream broke off")


class AsynchronousStream:
    """What goes on behind one ``classify_stream``; its state is the event loop's."""

    def __init__(
        self, open_stream: Open, server: str, question: Question, config: ClientConfig, in_flight: int
    ) -> None:
        """Prepare; arguments as ``BlockingStream``."""
        self._open = open_stream
        self._server = server
        self._patience_s = config.deadline_s
        self._allowance = Allowance(in_flight, config.call_bytes)
        self._backlog = Backlog(question, self._allowance)
        self._attempts = Attempts(server, config.max_attempts)
        self._changed = asyncio.Event()
        """Something was read, answered or taken, or has ended: whoever waits looks again."""
        self._call: Call | None = None
        self._turn = 0
        self._is_read = False
        self._source_error: BaseException | None = None
        self._failure: BaseException | None = None

    async def results(
        self, images: Iterable[ImageLike] | AsyncIterable[ImageLike]
    ) -> AsyncGenerator[ImageResult, None]:
        """Give the results in order; raises as ``Client.classify_stream`` says."""
        tasks = [asyncio.create_task(self._receive())]
        reader: Reader | None = None
        if isinstance(images, AsyncIterable):
            tasks.append(asyncio.create_task(self._read(images)))
        else:
            reader = self._reader(images)
        del images
        try:
            while (result := await self._next()) is not None:
                yield result
        finally:
            self._allowance.close()
            if self._call is not None:
                self._call.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if reader is not None and reader.is_alive():
                await asyncio.to_thread(reader.join, LEAVE_S)

    def _change(self) -> None:
        self._changed.set()

    async def _look_again(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    # -- for the caller

    async def _next(self) -> ImageResult | None:
        while (result := self._backlog.take()) is None:
            if self._failure is not None:
                raise self._failure
            if self._is_read and self._backlog.is_empty:
                if self._source_error is not None:
                    raise self._source_error
                return None
            remaining_s = left_s(self._backlog, self._patience_s)
            if remaining_s is not None and remaining_s <= 0:
                raise late(self._server, self._patience_s, self._backlog, self._attempts.last)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(remaining_s):
                    await self._look_again()
        self._change()
        return result

    # -- reading

    def _reader(self, images: Iterable[ImageLike]) -> Reader:
        """Start a thread that reads."""
        loop = asyncio.get_running_loop()

        def deliver(image: pb.Image | ImageError) -> None:
            with contextlib.suppress(RuntimeError):  # the loop may be closed by then
                loop.call_soon_threadsafe(self._add, image)

        def finish(error: BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._finish, error)

        reader = Reader(images, self._allowance, deliver, finish)
        reader.start()
        return reader

    async def _read(self, images: AsyncIterable[ImageLike]) -> None:
        """Read in the loop; files are read and pictures reduced in a thread."""
        error: BaseException | None = None
        try:
            iterator, index = aiter(images), 0
            while True:
                while not self._allowance.has_room:
                    await self._look_again()
                image = await anext(iterator)
                arguments = (image, index, self._allowance)
                self._add(await asyncio.to_thread(read, *arguments) if may_block(image) else read(*arguments))
                index += 1
        except StopAsyncIteration:
            pass
        except Exception as raised:  # noqa: BLE001 - it is the caller's, and raised where the caller is
            error = raised
        self._finish(error)

    def _add(self, image: pb.Image | ImageError) -> None:
        self._backlog.add(image)
        self._change()

    def _finish(self, error: BaseException | None) -> None:
        self._is_read, self._source_error = True, error
        self._change()

    # -- sending

    async def _requests(self, turn: int) -> AsyncIterator[pb.ClassifyStreamRequest]:
        while turn == self._turn:
            if (request := self._backlog.next_request()) is not None:
                yield request
            elif self._is_read and not self._backlog.unanswered:
                return
            else:
                await self._look_again()

    # -- receiving

    async def _receive(self) -> None:
        try:
            while await self._wait_for_images():
                failure = await self._converse()
                if failure is not None:
                    await self._recover(failure)
        except Exception as error:  # noqa: BLE001 - it is raised where the caller is
            self._failure = error
            self._change()

    async def _wait_for_images(self) -> bool:
        """Wait for something to send; False if there will be nothing."""
        while not self._backlog.has_unsent:
            if self._is_read:
                return False
            await self._look_again()
        return True

    async def _converse(self) -> Failure | None:
        """Send and receive on one stream until it ends."""
        self._turn += 1
        call = self._call = self._open(self._requests(self._turn), self._attempts.has_succeeded)
        ending = _Ending(call)
        try:
            async for reply in call:
                self._backlog.accept(reply)
                self._attempts.succeed()
                self._change()
        except grpc.RpcError:
            failure = await ending.failure()
            if failure.code is not grpc.StatusCode.OK:  # else it was over, and there was more to write
                return failure
        except RefusedError as refused:
            call.cancel()
            return refused.failure
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # gRPC cancels a call whose message it could not write, whatever the server has said.
            return _BROKEN_OFF
        finally:
            self._turn += 1
            self._change()
        return unfinished(self._backlog)

    async def _recover(self, failure: Failure) -> None:
        """Prepare another attempt, and wait until it may be made. Raises ClientError if it may not."""
        if self._backlog.restart(failure):
            self._change()
            return
        await asyncio.sleep(self._attempts.pause_s(failure))


class _Ending:
    """What the server says at the end of a call.

    Where a message could not be written gRPC puts an internal error of its own in the place of what the
    server has said, or is about to say: so a first status is noted when it is set, a second one looked for.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._said: Failure | None = None
        call.add_done_callback(self._note)

    def _note(self, call: Call) -> None:
        failure = _at_once(_failure_of(call))
        if failure.details != _UNWRITTEN and self._said is None:
            self._said = failure

    async def failure(self) -> Failure:
        """Say it, as soon as it is known."""
        for _ in range(_LOOKS):
            self._note(self._call)
            if self._said is not None:
                return self._said
            await asyncio.sleep(_LOOK_S)
        return _BROKEN_OFF


async def _failure_of(call: Call) -> Failure:
    return Failure.of(await call.code(), await call.details(), await call.trailing_metadata())


def _at_once(answer: Coroutine[Any, Any, Failure]) -> Failure:
    """Run what has nothing to wait for, such as a question to a call that is over."""
    try:
        answer.send(None)
    except StopIteration as end:
        return cast("Failure", end.value)
    answer.close()
    raise RuntimeError("a call that is over made a question about its end wait")
