"""Pictures as they are uploaded become what the network sees of them.

In: the body of a request, a picture's file or a form with several. Out: pixels, or what is wrong with the
picture. Nothing of a picture but its pixels goes on; its name is text, and only ever told as such.
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
_LONGEST_NAME = 200
_MOST_FIELDS = 16
_MOST_FIELD_BYTES = 4_096


@dataclass(frozen=True)
class Picture:
    """One picture of a request."""

    name: str
    """What its sender calls it; empty if it has no name."""
    pixels: npt.NDArray[np.uint8] | None
    """uint8 (32, 32, 3), as the network sees it; None if there is an error."""
    error: ImageError | None
    decode_ms: float

    @property
    def seen(self) -> npt.NDArray[np.uint8]:
        """The pixels. Raises the picture's ImageError if there are none."""
        if self.pixels is None:
            raise self.error or bad_request("The picture was not read")
        return self.pixels


class Reader:
    """Reads the pictures of requests, in threads that share a bounded amount of memory."""

    def __init__(self, config: WebConfig, threads: ThreadPoolExecutor) -> None:
        """Read what the limits allow."""
        disable_pillow_pixel_limit()
        self._config = config
        self._threads = threads
        self._memory_budget = decoding_budget(config.limits)

    async def read(self, request: Request) -> list[Picture]:
        """Read all pictures of a request, in order.

        Raises:
            ProblemError: there is none, or there are too many.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        files = await self._form(request) if kind == "multipart/form-data" else [("", await request.body())]
        if not files or (len(files) == 1 and not files[0][1] and not files[0][0]):
            raise bad_request(
                "There is no picture: send one as the body (curl --data-binary @photo.jpg), or "
                "several as files of a form (curl --form picture=@photo.jpg)"
            )
        loop = asyncio.get_running_loop()
        return await asyncio.gather(
            *(loop.run_in_executor(self._threads, self._decode, name, data) for name, data in files)
        )

    async def read_one(self, request: Request) -> Picture:
        """Read the only picture of a request. Raises ProblemError if there are others, ImageError of it."""
        pictures = await self.read(request)
        if len(pictures) > 1:
            raise bad_request(f"There are {len(pictures)} pictures, wanted one")
        if pictures[0].error is not None:
            raise pictures[0].error
        return pictures[0]

    async def _form(self, request: Request) -> list[tuple[str, bytes]]:
        limits = {"max_files": self._config.pictures, "max_fields": _MOST_FIELDS}
        async with request.form(**limits, max_part_size=_MOST_FIELD_BYTES) as form:
            files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            return [((file.filename or "")[:_LONGEST_NAME], await file.read()) for file in files]

    def _decode(self, name: str, data: bytes) -> Picture:
        began_s = clock()
        pixels, problem = None, None
        try:
            pixels = from_encoded(data, self._config.limits, self._memory_budget)
        except ImageError as error:
            problem = error
        return Picture(name, pixels, problem, _MS * (clock() - began_s))


def as_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Write pixels, uint8 (height, width, 3), as a PNG file."""
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


def as_url(pixels: npt.NDArray[np.uint8]) -> str:
    """Write pixels as a ``data:`` URL, lossless."""
    return f"data:image/png;base64,{base64.b64encode(as_png(pixels)).decode('ascii')}"


def shifted(pixels: npt.NDArray[np.uint8], x: int, y: int) -> npt.NDArray[np.uint8]:
    """Move what a picture shows to the right and down; the border is filled by reflection.

    Args:
        pixels: uint8 (32, 32, 3).
        x: pixels to the right, -31 to 31.
        y: pixels down, likewise.
    """
    far = max(abs(x), abs(y))
    if not far:
        return pixels
    wide = np.pad(pixels, ((far, far), (far, far), (0, 0)), mode="reflect")
    return wide[far - y : far - y + IMAGE_SIDE, far - x : far - x + IMAGE_SIDE]
