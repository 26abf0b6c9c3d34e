"""A stream of images for blocking code, in three threads beside the caller's.

A reader fills the backlog, gRPC's own thread sends it, and a receiver takes the answers and opens another
stream when one fails. Closing the generator of results ends all three.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

import grpc

from cifar10net.base_stream import BaseStream
from cifar10net.failures import Failure, RefusedError
from cifar10net.image_reader import JOIN_TIMEOUT_S, ImageReader

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from cifar10net.errors import ImageError
    from cifar10net.messages import ImageLike, ImageResult
    from cifar10net.pb import classifier_pb2 as pb

    class Call(Protocol):
        """The part of gRPC's call that is used here."""

        def __iter__(self) -> Iterator[pb.ClassifyStreamResponse]: ...
        def cancel(self) -> bool: ...  # noqa: D102


class BlockingStream(BaseStream):
    """One lock guards all state."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401
        """Create a stream; arguments as ``BaseStream``."""
        super().__init__(*arguments)
        # Reentrant: the garbage collector may close the generator in a thread that holds the lock.
        lock = threading.RLock()
        self._to_send = threading.Condition(lock)
        self._to_take = threading.Condition(lock)
        self._call: Call | None = None
        self._receiver = threading.Thread(target=self._receive, name="cifar10net-receiver", daemon=True)
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    def results(self, images: Iterable[ImageLike]) -> Generator[ImageResult, None, None]:
        """Yield the results in order; raises as ``Client.classify_stream``."""
        reader = ImageReader(images, self._window, self._add, self._finish)
        del images
        try:
            for thread in (reader, self._receiver):
                thread.start()
                self._threads.append(thread)
            while (result := self._next()) is not None:
                yield result
        finally:
            self._close()

    # -- the caller's thread

    def _next(self) -> ImageResult | None:
        with self._to_take:
            while (result := self._take()) is None and not self._is_finished:
                self._to_take.wait(self._remaining_s())
            return result

    def _close(self) -> None:
        with self._to_send:
            self._is_closed = True
            self._to_send.notify_all()
            call, threads, is_finished = self._call, tuple(self._threads), self._is_finished
        self._window.close()
        is_own_thread = threading.current_thread() in threads
        if is_finished and not is_own_thread:  # the call ends by itself, with its status
            self._receiver.join(JOIN_TIMEOUT_S)
        if call is not None:
            call.cancel()
        if not is_own_thread:
            for thread in threads:
                thread.join(JOIN_TIMEOUT_S)

    # -- the reader thread

    def _add(self, image: pb.Image | ImageError) -> None:
        with self._to_send:
            self._backlog.add(image)
            self._to_send.notify_all()
            self._to_take.notify()  # an error is a result, and a first image starts the deadline

    def _finish(self, error: BaseException | None) -> None:
        with self._to_send:
            self._is_read, self._source_error = True, error
            self._to_send.notify_all()
            self._to_take.notify()

    # -- gRPC's thread, which sends

    def _requests(self, generation: int) -> Iterator[pb.ClassifyStreamRequest]:
        with self._to_send:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            self._threads.append(threading.current_thread())
        while (request := self._next_request(generation)) is not None:
            yield request

    def _next_request(self, generation: int) -> pb.ClassifyStreamRequest | None:
        with self._to_send:
            while not self._is_closed and generation == self._generation:
                if (request := self._backlog.next_request()) is not None:
                    return request
                if self._is_answered:
                    return None
                self._to_send.wait()
            return None

    # -- the receiver thread

    def _receive(self) -> None:
        try:
            while self._wait_for_images():
                failure = self._run_call()
                if failure is not None:
                    self._recover(failure)
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            with self._to_take:
                self._failure = error
                self._to_take.notify()

    def _wait_for_images(self) -> bool:
        """Wait for images to send; False if there will be none."""
        with self._to_send:
            self._to_send.wait_for(lambda: self._is_closed or self._is_read or self._backlog.has_unsent)
            return not self._is_closed and self._backlog.has_unsent

    def _run_call(self) -> Failure | None:
        """Send and receive on one gRPC call until it ends."""
        with self._to_send:
            self._generation += 1
            requests = self._requests(self._generation)
            call: Call = self._open(requests, self._retries.has_succeeded)
            self._call = call
            if self._is_closed:
                call.cancel()
        try:
            for reply in call:
                self._accept(reply)
        except grpc.RpcError as error:
            return Failure.from_error(error)
        except RefusedError as refused:
            call.cancel()
            return refused.failure
        finally:
            with self._to_send:
                self._generation += 1
                self._to_send.notify_all()
        return self._unfinished()

    def _accept(self, reply: pb.ClassifyStreamResponse) -> None:
        with self._to_send:
            self._backlog.accept(reply)
            self._retries.record_success()
            self._to_take.notify()
            if self._backlog.has_unsent or self._is_answered:
                self._to_send.notify_all()

    def _recover(self, failure: Failure) -> None:
        """Requeue unanswered images and wait for the next attempt. Raises ClientError if there is none."""
        with self._to_send:
            if self._is_closed:
                return
            if self._backlog.restart(failure):
                self._to_take.notify()
                return
            self._to_send.wait_for(lambda: self._is_closed, self._retries.delay_s(failure))
