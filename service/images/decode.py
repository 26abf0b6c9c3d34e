"""Decodes pictures to 32x32 RGB pixels, or raises an ImageError that says why not.

Pixels stay uint8, 0 to 255: normalising them is part of the model.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from cifar10net.errors import ImageError, ImageErrorCode
from cifar10net.protocol import IMAGE_BYTES, IMAGE_SIDE
from cifar10net.resize import fitted
from service.images.jpeg_scans import count_scans
from service.images.memory_budget import MemoryBudget

if TYPE_CHECKING:
    import numpy.typing as npt

    from service.config import ImageLimits

MAX_SIDE = 65_535
"""Pixels, the limit of JPEG. Pillow keeps a pointer per row: in a picture one pixel wide they are larger than
its pixels."""
MOST_BYTES_A_PIXEL = 16
_BYTES_A_PIXEL = {"WEBP": MOST_BYTES_A_PIXEL, "JPEG": 8, "MPO": 8}
"""Peak memory of Pillow while it decodes and reduces a picture, as measured by the tests."""
_BYTES_A_PIXEL_OF_OTHERS = 12
_SMALL_BYTES = 16 << 20
"""A picture that needs no more is decoded without a reservation."""
MAX_SCANS = 100
"""Of a JPEG; libjpeg-turbo advises applications to have such a limit."""
MAX_SCANS_AT_MOST_PIXELS = 20
"""Of a JPEG with the most pixels that are allowed; libjpeg writes 10 for colours and up to 18 for CMYK."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
_SIGNATURES = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP|BM|GIF8[79]a", re.DOTALL)


def disable_pillow_pixel_limit() -> None:
    """Disable Pillow's process-wide pixel limit, which warns on stderr.

    For processes that decode only with ``from_encoded``, which checks ``ImageLimits`` instead.
    """
    Image.MAX_IMAGE_PIXELS = None


def decoding_budget(limits: ImageLimits) -> MemoryBudget:
    """Return a budget for one picture at the limit, whatever its format, or several smaller ones."""
    return MemoryBudget(max(_SMALL_BYTES, MOST_BYTES_A_PIXEL * limits.max_pixels))


def from_encoded(
    data: bytes, limits: ImageLimits, budget: MemoryBudget | None = None
) -> npt.NDArray[np.uint8]:
    """Decode a JPEG, PNG, WebP, BMP or GIF file, recognised by its content, and resize it.

    Args:
        data: the content of the file.
        limits: most bytes and pixels.
        budget: memory shared with other threads; a large picture waits for its part.

    Returns:
        uint8 (32, 32, 3).

    Raises:
        ImageError: EMPTY, UNSUPPORTED_FORMAT, CORRUPT or TOO_LARGE.
    """
    if not data:
        raise ImageError(ImageErrorCode.EMPTY, "has no bytes, wanted an encoded picture or raw pixels")
    if len(data) > limits.max_bytes:
        raise ImageError(
            ImageErrorCode.TOO_LARGE,
            f"has {len(data):,} bytes, wanted at most {limits.max_bytes:,}; send it smaller",
        )
    try:
        with _opened(data) as image:
            _check_pixels(image, limits)
            _check_scans(image, data, limits)
            needed = _decoding_bytes(image)
            if budget is None or needed <= _SMALL_BYTES:
                return fit(image)
        del image  # allocate and free only while holding the budget
        with budget.reserve(needed):
            return _fit_file(data)
    except Exception as error:  # noqa: BLE001 - damaged files make Pillow raise a dozen types
        problem = _problem(error, data, limits)
    # Outside the handler: an error raised within keeps the frames of the first one alive, and so the picture.
    raise problem


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=FORMATS)


def _fit_file(data: bytes) -> npt.NDArray[np.uint8]:
    with _opened(data) as image:
        return fit(image)


def _problem(error: Exception, data: bytes, limits: ImageLimits) -> ImageError:
    """Return the ImageError for what decoding has raised."""
    if isinstance(error, ImageError):
        return ImageError(error.code, error.message)
    if isinstance(error, UnidentifiedImageError):
        if _SIGNATURES.match(data):
            return ImageError(
                ImageErrorCode.CORRUPT, "has a damaged header; the file is damaged or incomplete"
            )
        return ImageError(
            ImageErrorCode.UNSUPPORTED_FORMAT,
            f"begins with {data[:8].hex(' ')}, which is no JPEG, PNG, WebP, BMP or GIF",
        )
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning | MemoryError):
        return ImageError(
            ImageErrorCode.TOO_LARGE,
            f"unpacks to more than {limits.max_pixels:,} pixels; send it smaller",
        )
    return ImageError(
        ImageErrorCode.CORRUPT,
        f"cannot be decoded ({_reason(error)}); the file is damaged or incomplete",
    )


def from_pixels(data: bytes) -> npt.NDArray[np.uint8]:
    """Read raw RGB pixels, without a copy: uint8 (32, 32, 3). Raises ImageError: EMPTY or WRONG_SIZE."""
    if len(data) != IMAGE_BYTES:
        raise ImageError(
            ImageErrorCode.WRONG_SIZE if data else ImageErrorCode.EMPTY,
            f"has {len(data):,} bytes, expected {IMAGE_BYTES:,} ({IMAGE_SIDE}x{IMAGE_SIDE} RGB, row by row)",
        )
    return np.frombuffer(data, np.uint8).reshape(IMAGE_SIDE, IMAGE_SIDE, 3)


def fit(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Resize a decoded picture as ``cifar10net.resize`` does: uint8 (32, 32, 3). Raises Pillow's errors."""
    return np.asarray(fitted(image))


def _decoding_bytes(image: Image.Image) -> int:
    """Return the peak memory of ``fit`` for a picture that is not loaded yet.

    JPEGs that are decoded at a reduced size count in full: of a progressive one, all coefficients are read
    before the first pixel.
    """
    return image.width * image.height * _BYTES_A_PIXEL.get(image.format or "", _BYTES_A_PIXEL_OF_OTHERS)


def _check_pixels(image: Image.Image, limits: ImageLimits) -> None:
    if max(image.size) > MAX_SIDE:
        raise ImageError(
            ImageErrorCode.TOO_LARGE,
            f"is {image.width}x{image.height}, wanted no side above {MAX_SIDE:,}; send it smaller",
        )
    pixels = image.width * image.height
    if pixels > limits.max_pixels:
        raise ImageError(
            ImageErrorCode.TOO_LARGE,
            f"is {image.width}x{image.height} = {pixels:,} pixels, wanted at most "
            f"{limits.max_pixels:,}; send it smaller",
        )


def _check_scans(image: Image.Image, data: bytes, limits: ImageLimits) -> None:
    if image.format not in {"JPEG", "MPO"}:
        return
    pixels = image.width * image.height
    most = min(MAX_SCANS, MAX_SCANS_AT_MOST_PIXELS * limits.max_pixels // pixels)
    if count_scans(data, most) > most:
        raise ImageError(
            ImageErrorCode.TOO_LARGE,
            f"is a JPEG with more than {most} scans of {pixels:,} pixels; save it as a baseline JPEG",
        )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
