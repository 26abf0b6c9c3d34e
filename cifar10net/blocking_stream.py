"""A stream of images for ordinary code: read in one thread, answered in another, taken by the caller.

In: an iterable, and how a stream is opened. Out: a generator of results. A reader fills the backlog, gRPC's
own thread sends what waits in it, a receiver takes the answers and opens another stream when one fails;
whoever closes the generator ends them all.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol

import grpc

from cifar10net.backlog import Backlog
from cifar10net.failures import Attempts, Failure, RefusedError
from cifar10net.image_reader import LEAVE_S, Reader
from cifar10net.read_ahead import Allowance
from cifar10net.stream_deadline import late, left_s, unfinished

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from cifar10net.config import ClientConfig
    from cifar10net.errors import ImageError
    from cifar10net.messages import ImageLike, ImageResult
    from cifar10net.pb import classifier_pb2 as pb
    from cifar10net.request_options import Question

    class Call(Protocol):
        """gRPC's call, as far as it is used here."""

        def __iter__(self) -> Iterator[pb.ClassifyStreamResponse]: ...
        def cancel(self) -> bool: ...  # noqa: D102

    Open = Callable[[Iterator[pb.ClassifyStreamRequest], bool], Call]


class BlockingStream:
    """What goes on behind one ``classify_stream``; its state has one lock."""

    def __init__(
        self, open_stream: Open, server: str, question: Question, config: ClientConfig, in_flight: int
    ) -> None:
        """Prepare.

        Args:
            open_stream: sends requests, and waits for a server first if told to, which is told once one has
                answered; else it fails where nobody is.
            server: whose it is, for errors.
            question: asked of each image.
            config: of the client.
            in_flight: most images that were read and not taken.
        """
        self._open = open_stream
        self._server = server
        self._patience_s = config.deadline_s
        self._allowance = Allowance(in_flight, config.call_bytes)
        self._backlog = Backlog(question, self._allowance)
        self._attempts = Attempts(server, config.max_attempts)
        # Reentrant, since a generator that nobody holds is closed wherever Python finds it.
        lock = threading.RLock()
        self._to_send = threading.Condition(lock)
        self._to_take = threading.Condition(lock)
        self._call: Call | None = None
        self._turn = 0
        """Counts the streams, and the times between them; what was sent for another one is over."""
        self._threads: list[threading.Thread] = []
        self._is_read = False
        self._is_closed = False
        self._source_error: BaseException | None = None
        self._failure: BaseException | None = None

    def results(self, images: Iterable[ImageLike]) -> Generator[ImageResult, None, None]:
        """Give the results in order; raises as ``Client.classify_stream`` says."""
        reader = Reader(images, self._allowance, self._add, self._finish)
        receiver = threading.Thread(target=self._receive, name="cifar10net-receiver", daemon=True)
        del images
        try:
            for thread in (reader, receiver):
                thread.start()
                self._threads.append(thread)
            while (result := self._next()) is not None:
                yield result
        finally:
            self._close()

    # -- the caller's thread

    def _next(self) -> ImageResult | None:
        with self._to_take:
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
                self._to_take.wait(remaining_s)
            return result

    def _close(self) -> None:
        with self._to_send:
            self._is_closed = True
            self._to_send.notify_all()
            call, threads = self._call, tuple(self._threads)
        self._allowance.close()
        if call is not None:
            call.cancel()
        if threading.current_thread() not in threads:
            for thread in threads:
                thread.join(LEAVE_S)

    # -- the reader's

    def _add(self, image: pb.Image | ImageError) -> None:
        with self._to_send:
            self._backlog.add(image)
            self._to_send.notify_all()
            self._to_take.notify()  # it may be an error, or the first one that has to be answered

    def _finish(self, error: BaseException | None) -> None:
        with self._to_send:
            self._is_read, self._source_error = True, error
            self._to_send.notify_all()
            self._to_take.notify()

    # -- gRPC's, which sends

    def _requests(self, turn: int) -> Iterator[pb.ClassifyStreamRequest]:
        with self._to_send:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            self._threads.append(threading.current_thread())
        while (request := self._next_request(turn)) is not None:
            yield request

    def _next_request(self, turn: int) -> pb.ClassifyStreamRequest | None:
        with self._to_send:
            while not self._is_closed and turn == self._turn:
                if (request := self._backlog.next_request()) is not None:
                    return request
                if self._is_read and not self._backlog.unanswered:
                    return None
                self._to_send.wait()
            return None

    # -- the receiver's

    def _receive(self) -> None:
        try:
            while self._wait_for_images():
                failure = self._converse()
                if failure is not None:
                    self._recover(failure)
        except BaseException as error:  # noqa: BLE001 - it is raised where the caller is
            with self._to_take:
                self._failure = error
                self._to_take.notify()

    def _wait_for_images(self) -> bool:
        """Wait for something to send; False if there will be nothing."""
        with self._to_send:
            while not self._is_closed:
                if self._backlog.has_unsent:
                    return True
                if self._is_read:
                    return False
                self._to_send.wait()
            return False

    def _converse(self) -> Failure | None:
        """Send and receive on one stream until it ends."""
        with self._to_send:
            self._turn += 1
            call = self._call = self._open(self._requests(self._turn), self._attempts.has_succeeded)
            if self._is_closed:
                call.cancel()
        try:
            for reply in call:
                self._accept(reply)
        except grpc.RpcError as error:
            return Failure.raised(error)
        except RefusedError as refused:
            call.cancel()
            return refused.failure
        finally:
            with self._to_send:
                self._turn += 1
                self._to_send.notify_all()
        return unfinished(self._backlog)

    def _accept(self, reply: pb.ClassifyStreamResponse) -> None:
        with self._to_send:
            self._backlog.accept(reply)
            self._attempts.succeed()
            self._to_take.notify()
            if self._backlog.has_unsent or (self._is_read and not self._backlog.unanswered):
                self._to_send.notify_all()

    def _recover(self, failure: Failure) -> None:
        """Prepare another attempt, and wait until it may be made. Raises ClientError if it may not."""
        with self._to_send:
            if self._is_closed:
                return
            if self._backlog.restart(failure):
                self._to_take.notify()
                return
            goes_on_s = time.monotonic() + self._attempts.pause_s(failure)
            while not self._is_closed and (remaining_s := goes_on_s - time.monotonic()) > 0:
                self._to_send.wait(remaining_s)
