"""The images of a stream, from when they are read until their results are taken, in the caller's order.

In: images as they are read, answers as they come, and that a stream has failed. Out: requests, and results in
order. Images that wait together go in one message. Knows nothing of threads, tasks and channels, and is to be
used by one of them at a time.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from cifar10net.errors import ClientError, ImageError, ImageErrorCode
from cifar10net.failures import RefusedError
from cifar10net.messages import ImageResult, failed, image_cost, result_of
from cifar10net.pb import classifier_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cifar10net.failures import Failure
    from cifar10net.read_ahead import Allowance
    from cifar10net.request_options import Question

_MESSAGE_IMAGES = 64
"""Most images of a message: the server's batch."""
_MESSAGE_BYTES = 512 << 10
"""Most bytes of a message of several images: half of what a server reads ahead."""


@dataclass(eq=False, slots=True)
class _Entry:
    """An image and what has become of it."""

    image: pb.Image | None
    result: ImageResult | None = None
    is_alone: bool = False
    """Whether it goes in a message of its own, with none beside it: one of several was refused."""


class Backlog:
    """What was read and not yet taken."""

    def __init__(self, question: Question, allowance: Allowance) -> None:
        self._question = question
        self._allowance = allowance
        self._entries: deque[_Entry] = deque()
        self._unsent: deque[_Entry] = deque()
        self._sent: deque[tuple[str, list[_Entry]]] = deque()
        """Messages of the present stream that are not answered, by their ids."""
        self._ids = map(str, itertools.count())
        self.waits_since_s = 0.0
        """When an answer came last, or the first image that has none."""
        self.unanswered = 0
        """Images that have no result."""

    @property
    def has_unsent(self) -> bool:
        """Whether there is something to open a stream for."""
        return bool(self._unsent)

    @property
    def is_empty(self) -> bool:
        """Whether every result was taken."""
        return not self._entries

    def add(self, image: pb.Image | ImageError) -> None:
        """Put an image, or why it cannot be sent, at the end; whoever read it has taken its room."""
        if isinstance(image, ImageError):
            self._entries.append(_Entry(None, failed(image)))
            return
        if not self.unanswered:
            self.waits_since_s = time.monotonic()
        self.unanswered += 1
        entry = _Entry(image)
        self._entries.append(entry)
        self._unsent.append(entry)

    def take(self) -> ImageResult | None:
        """Take the next result in order, if it is there."""
        if not self._entries or (result := self._entries[0].result) is None:
            return None
        self._entries.popleft()
        self._allowance.give(1, 0)
        return result

    def next_request(self) -> pb.ClassifyStreamRequest | None:
        """Gather images that wait into a message; None if there is none to be sent now."""
        if not self._unsent:
            return None
        if self._sent and (self._unsent[0].is_alone or self._sent[-1][1][0].is_alone):
            return None
        entries = self._gather()
        name = next(self._ids)
        self._sent.append((name, entries))
        images = [entry.image for entry in entries if entry.image is not None]
        if all(image.pixels for image in images):
            request = self._question.request((), b"".join(image.pixels for image in images))
        else:
            request = self._question.request(images)
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
        """Take the answer to the oldest message.

        Raises:
            RefusedError: the message, and with it the stream, was refused.
            ClientError: the server breaks its own contract.
        """
        if not self._sent:
            raise _broken("the server answered more than it was asked")
        if reply.WhichOneof("outcome") == "error":
            self._refuse(reply.error)
            return
        name, entries = self._sent[0]
        results = reply.response.results
        if reply.id != name or len(results) != len(entries):
            raise _broken(
                f"the server answered {len(results)} images of message {reply.id!r}, "
                f"wanted {len(entries)} of {name!r}"
            )
        self._sent.popleft()
        for index, (entry, result) in enumerate(zip(entries, results, strict=True)):
            self._settle(entry, result_of(reply.response, index, result))

    def _refuse(self, error: pb.CallError) -> None:
        """Ask for each image by itself if the server failed on one of several, and leave out that one."""
        refused = RefusedError(error.code, error.message)
        if refused.failure.code is not grpc.StatusCode.INTERNAL:
            raise refused
        _, entries = self._sent.popleft()
        self._suspect(entries, refused.failure, ImageErrorCode.UNSPECIFIED)

    def restart(self, failure: Failure) -> bool:
        """Have all that is unanswered sent again, on another stream.

        Returns:
            Whether that may help though the server says that it never will: a message was too large for it,
            and images now go one by one, or the one that it was is left out.
        """
        sent = [entry for _, entries in self._sent for entry in entries]
        self._sent.clear()
        if not sent or not failure.is_final:
            self._unsent.extendleft(reversed(sent))
            return False
        self._suspect(sent, failure, ImageErrorCode.TOO_LARGE)
        return True

    def _suspect(self, entries: Sequence[_Entry], failure: Failure, code: ImageErrorCode) -> None:
        if len(entries) == 1:
            message = f"was refused by the server: {failure.code.name}: {failure.details}"
            self._settle(entries[0], failed(ImageError(code, message)))
            return
        for entry in entries:
            entry.is_alone = True
        self._unsent.extendleft(reversed(entries))

    def _settle(self, entry: _Entry, result: ImageResult) -> None:
        self._allowance.give(0, _cost(entry))
        entry.image, entry.result = None, result
        self.unanswered -= 1
        self.waits_since_s = time.monotonic()


def _cost(entry: _Entry) -> int:
    return 0 if entry.image is None else image_cost(entry.image)


def _broken(what: str) -> ClientError:
    return ClientError(grpc.StatusCode.INTERNAL, f"{what}; it breaks its own contract")
