"""What the blocking and the asyncio stream share: state, and when a stream ends, fails or is late."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc

from cifar10net.backlog import Backlog
from cifar10net.errors import ClientError
from cifar10net.failures import Failure, RetryState
from cifar10net.read_ahead import ReadAheadWindow

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifar10net.config import ClientConfig
    from cifar10net.messages import ImageResult
    from cifar10net.request_options import RequestOptions


class BaseStream:
    """State of one ``classify_stream``; its methods are called under the subclass's lock, if it has one."""

    def __init__(
        self,
        open_stream: Callable[..., Any],
        server: str,
        options: RequestOptions,
        config: ClientConfig,
        in_flight: int,
    ) -> None:
        """Create a stream that is not connected yet.

        Args:
            open_stream: starts gRPC's call, given the iterator of requests and gRPC's ``wait_for_ready``.
            server: its address, for errors.
            options: of each request.
            config: of the client.
            in_flight: most images read and not taken.
        """
        self._open = open_stream
        self._server = server
        self._deadline_s = config.deadline_s
        self._window = ReadAheadWindow(in_flight, config.call_bytes)
        self._backlog = Backlog(options, self._window)
        self._retries = RetryState(server, config.max_attempts)
        self._generation = 0
        """Changes when a call starts and when it ends; the sender of an ended call then stops."""
        self._is_read = False
        self._source_error: BaseException | None = None
        self._failure: BaseException | None = None

    @property
    def _is_finished(self) -> bool:
        """Whether every result was taken."""
        return self._is_read and self._backlog.is_empty

    @property
    def _is_answered(self) -> bool:
        """Whether nothing is left to send or to wait for."""
        return self._is_read and not self._backlog.unanswered

    def _take(self) -> ImageResult | None:
        """Take the next result; None if it is not there yet, or if there are no more."""
        if (result := self._backlog.take()) is not None:
            return result
        if self._failure is not None:
            raise self._failure
        if self._is_finished and self._source_error is not None:
            raise self._source_error
        remaining_s = self._remaining_s()
        if remaining_s is not None and remaining_s <= 0:
            raise self._late()
        return None

    def _remaining_s(self) -> float | None:
        """Return the time left for the next answer; None if no image waits for one.

        A deadline of gRPC's would be for the whole stream, however many images it has.
        """
        if not self._backlog.unanswered:
            return None
        return self._backlog.waiting_since_s + self._deadline_s - time.monotonic()

    def _late(self) -> ClientError:
        if self._retries.last_failure is not None:  # the server went away and has not come back
            return self._retries.last_failure.as_error(self._server)
        return ClientError(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            f"{self._server} sent no answer for {self._deadline_s:g} seconds, "
            f"with {self._backlog.unanswered} images waiting",
        )

    def _unfinished(self) -> Failure | None:
        """Return a failure if a call ended with status OK and without an answer to every image."""
        if not self._backlog.unanswered:
            return None
        return Failure(grpc.StatusCode.UNAVAILABLE, "the stream ended before every image was answered")
