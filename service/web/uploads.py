"""Decodes uploaded pictures to the network's input: one as the body, or several as files of a form.

Nothing of a picture but its pixels is passed on. Its file name is untrusted text.
"""

from __future__ import annotations

import asyncio
import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from starlette.datastructures import UploadFile

from cifar10net.errors import ImageError
from cifar10net.protocol import IMAGE_SIDE
from service.images.decode import decoding_budget, disable_pillow_pixel_limit, from_encoded
from service.observability.timing import clock
from service.web.problem_details import bad_request

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    import numpy.typing as npt
    from starlette.requests import Request

    from service.web.settings import WebConfig

_MS = 1_000
_NAME_CHARACTERS = 200
_MOST_FIELDS = 16
_FIELD_BYTES = 4_096


@dataclass(frozen=True)
class UploadedPicture:
    """One picture of a request."""

    name: str
    """File name given by the sender; empty if there is none."""
    pixels: npt.NDArray[np.uint8] | ImageError
    """uint8 (32, 32, 3), or why the picture cannot be read."""
    decode_ms: float


class UploadReader:
    """Reads the pictures of requests, in threads that share a memory budget."""

    def __init__(self, config: WebConfig, threads: ThreadPoolExecutor) -> None:
        disable_pillow_pixel_limit()
        self._config = config
        self._threads = threads
        self._memory_budget = decoding_budget(config.limits)

    async def read(self, request: Request) -> list[UploadedPicture]:
        """Read all pictures of a request, in order. Raises ProblemError if there are none or too many."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        files = await self._form(request) if kind == "multipart/form-data" else [("", await request.body())]
        if not files or (len(files) == 1 and not files[0][1] and not files[0][0]):
            raise bad_request(
                "The request has no picture: send one as the body (curl --data-binary @photo.jpg), or "
                "several as files of a form (curl --form picture=@photo.jpg)"
            )
        loop = asyncio.get_running_loop()
        return await asyncio.gather(
            *(loop.run_in_executor(self._threads, self._decode, name, data) for name, data in files)
        )

    async def read_one(self, request: Request) -> tuple[npt.NDArray[np.uint8], float]:
        """Read the only picture of a request.

        Returns:
            Pixels, uint8 (32, 32, 3), and the milliseconds that decoding took.

        Raises:
            ProblemError: there is not exactly one picture.
            ImageError: it cannot be read.
        """
        pictures = await self.read(request)
        if len(pictures) > 1:
            raise bad_request(f"The request has {len(pictures)} pictures, wanted one")
        [picture] = pictures
        if isinstance(picture.pixels, ImageError):
            raise picture.pixels
        return picture.pixels, picture.decode_ms

    async def _form(self, request: Request) -> list[tuple[str, bytes]]:
        limits = {"max_files": self._config.pictures, "max_fields": _MOST_FIELDS}
        async with request.form(**limits, max_part_size=_FIELD_BYTES) as form:
            files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            return [((file.filename or "")[:_NAME_CHARACTERS], await file.read()) for file in files]

    def _decode(self, name: str, data: bytes) -> UploadedPicture:
        began_s = clock()
        pixels: npt.NDArray[np.uint8] | ImageError
        try:
            pixels = from_encoded(data, self._config.limits, self._memory_budget)
        except ImageError as error:
            pixels = error.with_traceback(None)
        return UploadedPicture(name, pixels, _MS * (clock() - began_s))


def as_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode pixels, uint8 (height, width, 3), as PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def as_url(pixels: npt.NDArray[np.uint8]) -> str:
    """Encode pixels, uint8 (height, width, 3), as a ``data:`` URL of a PNG."""
    return f"data:image/png;base64,{base64.b64encode(as_png(pixels)).decode('ascii')}"


def shifted(pixels: npt.NDArray[np.uint8], x: int, y: int) -> npt.NDArray[np.uint8]:
    """Shift an image, filling the border by reflection.

    Args:
        pixels: uint8 (32, 32, 3).
        x: pixels to the right, -31 to 31.
        y: pixels down, -31 to 31.
    """
    far = max(abs(x), abs(y))
    if not far:
        return pixels
    wide = np.pad(pixels, ((far, far), (far, far), (0, 0)), mode="reflect")
    return wide[far - y : far - y + IMAGE_SIDE, far - x : far - x + IMAGE_SIDE]
