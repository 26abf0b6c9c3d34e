"""Reads a caller's images for a stream: a thread for iterables, and ``read_image`` for each image."""

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
    from cifar10net.read_ahead import ReadAheadWindow

JOIN_TIMEOUT_S = 1.0
"""How long closing a stream waits for its threads: an iterable that blocks keeps its thread."""


class ImageReader(threading.Thread):
    """Reads until the images end or the window is closed."""

    def __init__(
        self,
        images: Iterable[ImageLike],
        window: ReadAheadWindow,
        deliver: Callable[[pb.Image | ImageError], None],
        finish: Callable[[BaseException | None], None],
    ) -> None:
        """Create the thread.

        Args:
            images: the caller's.
            window: how far to read ahead.
            deliver: called with each image.
            finish: called at the end, with the exception that ``images`` raised, if any.
        """
        super().__init__(name="cifar10net-reader", daemon=True)
        self._images = images
        self._window = window
        self._deliver = deliver
        self._finish = finish

    def run(self) -> None:
        """Read."""
        failure = None
        try:
            self._read()
        except BaseException as error:  # noqa: BLE001 - the caller's, and raised in the caller's thread
            failure = error
        finally:
            del self._images  # and what it holds
        self._finish(failure)

    def _read(self) -> None:
        images = iter(self._images)
        index = 0
        while self._window.wait():
            try:
                image = next(images)
            except StopIteration:
                return
            self._deliver(read_image(image, index, self._window))
            index += 1


def may_block(image: ImageLike) -> bool:
    """Whether ``read_image`` may take long: to read a file, or to resize an image."""
    if is_array(image):
        return image.shape[:2] != (IMAGE_SIDE, IMAGE_SIDE)
    return not isinstance(image, bytes)


def read_image(image: ImageLike, index: int, window: ReadAheadWindow) -> pb.Image | ImageError:
    """Convert an image to a message, or to the reason why it cannot be sent, and count it in the window.

    Raises:
        TypeError, ValueError: it is not an image.
    """
    try:
        message = to_message(image, index)
    except ImageError as error:
        window.acquire(0)
        return error.with_traceback(None)  # whose frames hold the image
    window.acquire(image_cost(message))
    return message
