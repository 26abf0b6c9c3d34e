"""The images of a stream, from when they are read until their results are taken, in the caller's order.

Images that wait together are sent in one message. Not thread-safe, and without I/O: streams lock and send.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from cifar10net.errors import ImageError, ImageErrorCode
from cifar10net.failures import RefusedError
from cifar10net.messages import ImageResult, failed, image_cost, protocol_error, result_of
from cifar10net.pb import classifier_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cifar10net.failures import Failure
    from cifar10net.read_ahead import ReadAheadWindow
    from cifar10net.request_options import RequestOptions

_MESSAGE_IMAGES = 64
"""Most images in a message: one batch of the server."""
_MESSAGE_BYTES = 512 << 10
"""Most bytes in a message of several images: half of what a server reads ahead."""


@dataclass(eq=False, slots=True)
class _Entry:
    """An image until it is answered, then its result."""

    image: pb.Image | None
    result: ImageResult | None = None
    is_alone: bool = False
    """Send it in a message of its own, and no other until that is answered: a message with it was refused."""


class Backlog:
    """Images read and not taken."""

    def __init__(self, options: RequestOptions, window: ReadAheadWindow) -> None:
        self._options = options
        self._window = window
        self._entries: deque[_Entry] = deque()
        self._unsent: deque[_Entry] = deque()
        self._sent: deque[tuple[str, list[_Entry]]] = deque()
        """Unanswered messages of the current call, with their ids, oldest first."""
        self._ids = map(str, itertools.count())
        self.waiting_since_s = 0.0
        """``time.monotonic`` of the last answer, or of the first image after all were answered."""
        self.unanswered = 0
        """Images without a result."""

    @property
    def has_unsent(self) -> bool:
        """Whether images wait to be sent."""
        return bool(self._unsent)

    @property
    def is_empty(self) -> bool:
        """Whether every result was taken."""
        return not self._entries

    def add(self, image: pb.Image | ImageError) -> None:
        """Append an image, or the reason why it cannot be sent; the reader has counted it in the window."""
        if isinstance(image, ImageError):
            self._entries.append(_Entry(None, failed(image)))
            return
        if not self.unanswered:
            self.waiting_since_s = time.monotonic()
        self.unanswered += 1
        entry = _Entry(image)
        self._entries.append(entry)
        self._unsent.append(entry)

    def take(self) -> ImageResult | None:
        """Take the next result in order; None if it is not there yet."""
        if not self._entries or (result := self._entries[0].result) is None:
            return None
        self._entries.popleft()
        self._window.release(1, 0)
        return result

    def next_request(self) -> pb.ClassifyStreamRequest | None:
        """Return the next message of waiting images; None if nothing can be sent now."""
        if not self._unsent:
            return None
        if self._sent and (self._unsent[0].is_alone or self._sent[-1][1][0].is_alone):
            return None
        entries = self._gather()
        name = next(self._ids)
        self._sent.append((name, entries))
        images = [entry.image for entry in entries if entry.image is not None]
        if all(image.pixels for image in images):
            request = self._options.request((), b"".join(image.pixels for image in images))
        else:
            request = self._options.request(images)
        return pb.ClassifyStreamRequest(id=name, request=request)

    def _gather(self) -> list[_Entry]:
        first = self._unsent.popleft()
        entries, size_bytes = [first], _cost(first)
        while self._unsent and len(entries) < _MESSAGE_IMAGES and not first.is_alone:
            size_bytes += _cost(self._unsent[0])
            if size_bytes > _MESSAGE_BYTES or self._unsent[0].is_alone:
                break
            entries.append(self._unsent.popleft())
        return entries

    def accept(self, reply: pb.ClassifyStreamResponse) -> None:
        """Accept the answer to the oldest message.

        Raises:
            RefusedError: the message was refused, so the call has to end.
            ClientError: the answer violates the proto.
        """
        if not self._sent:
            raise protocol_error("the server answered more messages than it was sent")
        if reply.WhichOneof("outcome") == "error":
            self._refuse(reply.error)
            return
        name, entries = self._sent[0]
        results = reply.response.results
        if reply.id != name or len(results) != len(entries):
            raise protocol_error(
                f"the server answered {len(results)} images of message {reply.id!r} "
                f"instead of {len(entries)} of {name!r}"
            )
        self._sent.popleft()
        for index, (entry, result) in enumerate(zip(entries, results, strict=True)):
            self._resolve(entry, result_of(reply.response, index, result))

    def _refuse(self, error: pb.CallError) -> None:
        """After an INTERNAL error send each image of the message alone; other errors end the call."""
        refused = RefusedError(error.code, error.message)
        if refused.failure.code is not grpc.StatusCode.INTERNAL:
            raise refused
        _, entries = self._sent.popleft()
        self._isolate(entries, refused.failure, ImageErrorCode.UNSPECIFIED)

    def restart(self, failure: Failure) -> bool:
        """Queue all unanswered images for another call.

        Returns:
            Whether to retry at once although the server forbids retries: a message was too large for it, and
            its images now go one by one; a single image fails instead.
        """
        sent = [entry for _, entries in self._sent for entry in entries]
        self._sent.clear()
        if not sent or not failure.is_final:
            self._unsent.extendleft(reversed(sent))
            return False
        self._isolate(sent, failure, ImageErrorCode.TOO_LARGE)
        return True

    def _isolate(self, entries: Sequence[_Entry], failure: Failure, code: ImageErrorCode) -> None:
        """Send each image alone; the result of a single image is the failure."""
        if len(entries) == 1:
            message = f"was refused by the server: {failure.code.name}: {failure.details}"
            self._resolve(entries[0], failed(ImageError(code, message)))
            return
        for entry in entries:
            entry.is_alone = True
        self._unsent.extendleft(reversed(entries))

    def _resolve(self, entry: _Entry, result: ImageResult) -> None:
        self._window.release(0, _cost(entry))
        entry.image, entry.result = None, result
        self.unanswered -= 1
        self.waiting_since_s = time.monotonic()


def _cost(entry: _Entry) -> int:
    return 0 if entry.image is None else image_cost(entry.image)
