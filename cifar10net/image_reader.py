"""A thread that reads a caller's images, as far ahead as is allowed.

In: an iterable of anything that is an image. Out: each as a message, or why it cannot be sent; and at the end
the exception that the iterable raised, if any. Knows nothing of streams.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from cifar10net.errors import ImageError
from cifar10net.messages import image_cost, is_array, to_message
from cifar10net.protocol import IMAGE_SIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cifar10net.messages import ImageLike
    from cifar10net.pb import classifier_pb2 as pb
    from cifar10net.read_ahead import Allowance

LEAVE_S = 1.0
"""How long the end of a stream waits for it: an iterable that blocks keeps it until it goes on."""


class Reader(threading.Thread):
    """Reads until the images end, or nobody wants them any more."""

    def __init__(
        self,
        images: Iterable[ImageLike],
        allowance: Allowance,
        deliver: Callable[[pb.Image | ImageError], None],
        finish: Callable[[BaseException | None], None],
    ) -> None:
        """Prepare to read.

        Args:
            images: the caller's.
            allowance: how far ahead of the answers.
            deliver: is given each image.
            finish: is told the end, and what the iterable raised.
        """
        super().__init__(name="cifar10net-reader", daemon=True)
        self._images = images
        self._allowance = allowance
        self._deliver = deliver
        self._finish = finish

    def run(self) -> None:
        """Read."""
        failure = None
        try:
            self._read()
        except BaseException as error:  # noqa: BLE001 - it is the caller's, and raised where the caller is
            failure = error
        finally:
            del self._images  # and what it holds
        self._finish(failure)

    def _read(self) -> None:
        images = enumerate(self._images)
        while self._allowance.wait():
            index, image = next(images, (-1, None))
            if image is None and index < 0:
                return
            self._deliver(read(image, index, self._allowance))  # type: ignore[arg-type]  # None is refused


def may_block(image: ImageLike) -> bool:
    """Whether ``read`` may take long: a file, or a picture to be reduced."""
    if is_array(image):
        return image.shape[:2] != (IMAGE_SIDE, IMAGE_SIDE)
    return not isinstance(image, bytes)


def read(image: ImageLike, index: int, allowance: Allowance) -> pb.Image | ImageError:
    """Make an image's message, or say why there is none, and take its room.

    Raises:
        TypeError, ValueError: it is no kind of image.
    """
    try:
        message = to_message(image, index)
    except ImageError as error:
        allowance.take(0)
        return error
    allowance.take(image_cost(message))
    return message
