"""Turn the images of a ClassifyRequest into pixels, or an ImageError for each that cannot be read.

Pictures are decoded in threads. Each call queues only a few at a time, so a small call never waits for all of
a large one.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from cifar10net.errors import ImageError
from cifar10net.protocol import IMAGE_SIDE
from service.images.decode import decoding_budget, from_encoded, from_pixels
from service.observability.timing import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from cifar10net.pb import classifier_pb2 as pb
    from service.config import ImageLimits
    from service.observability.timing import Timing

_PIECE_IMAGES = 8  # small pictures per task of the executor: enough to hide its overhead
_PIECE_BYTES = 64 << 10  # larger pictures, such as photographs, are a task of their own


class Decoder:
    """A thread pool that decodes pictures."""

    def __init__(self, threads: int, limits: ImageLimits) -> None:
        """Decode at most ``threads`` pictures at a time, within the limits of size and memory."""
        self._threads = threads
        self._limits = limits
        self._memory_budget = decoding_budget(limits)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def close(self) -> None:
        """Release the threads; pictures still queued are dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def read(
        self, request: pb.ClassifyRequest, n: int, timing: Timing | None = None
    ) -> tuple[npt.NDArray[np.uint8], dict[int, ImageError]]:
        """Read the ``n`` images of a checked request; record in ``timing`` when pictures were decoded.

        Returns:
            Pixels uint8 (n, 32, 32, 3), undefined for the images that have an error, and the errors by
            position.
        """
        shape = (n, IMAGE_SIDE, IMAGE_SIDE, 3)
        if not request.images:
            return np.frombuffer(request.packed_pixels, np.uint8).reshape(shape), {}
        images = np.empty(shape, np.uint8)
        errors: dict[int, ImageError] = {}
        encoded: list[tuple[int, bytes]] = []
        for index, image in enumerate(request.images):
            if image.WhichOneof("data") == "encoded":
                encoded.append((index, image.encoded))
            else:
                try:
                    images[index] = from_pixels(image.pixels)
                except ImageError as error:
                    errors[index] = error.with_traceback(None)
        if encoded:
            began_s = clock()
            errors |= await self._decode_all(encoded, images)
            if timing is not None:
                timing.decode_began_s, timing.decode_ended_s = began_s, clock()
        return images, errors

    async def _decode_all(
        self, encoded: list[tuple[int, bytes]], images: npt.NDArray[np.uint8]
    ) -> dict[int, ImageError]:
        """Decode in all threads, with at most one piece per thread queued at a time.

        Where the call is cancelled or its deadline passes, threads stop after the picture they are at.
        """
        loop = asyncio.get_running_loop()
        pieces = _pieces(encoded)
        errors: dict[int, ImageError] = {}
        has_ended = threading.Event()

        async def decode_pieces() -> None:
            for piece in pieces:
                decoding = loop.run_in_executor(self._executor, self._decode, piece, images, has_ended)
                errors.update(await decoding)

        try:
            await asyncio.gather(*(decode_pieces() for _ in range(min(self._threads, len(encoded)))))
        finally:
            has_ended.set()
        return errors

    def _decode(
        self, encoded: list[tuple[int, bytes]], images: npt.NDArray[np.uint8], has_ended: threading.Event
    ) -> dict[int, ImageError]:
        errors: dict[int, ImageError] = {}
        for index, data in encoded:
            if has_ended.is_set():
                break
            try:
                images[index] = from_encoded(data, self._limits, self._memory_budget)
            except ImageError as error:
                errors[index] = error.with_traceback(None)  # whose frames hold the picture
        return errors


def _pieces(encoded: list[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Split a call's pictures into tasks for the executor."""
    piece: list[tuple[int, bytes]] = []
    size = 0
    for index, data in encoded:
        if piece and (len(piece) == _PIECE_IMAGES or size + len(data) > _PIECE_BYTES):
            yield piece
            piece, size = [], 0
        piece.append((index, data))
        size += len(data)
    if piece:
        yield piece
