"""Images to protobuf messages, lists to requests below the message limit, and responses to dataclasses."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast, get_args, get_origin, get_type_hints

import grpc
from PIL import Image

from cifar10net.errors import ClientError, ImageError, ImageErrorCode
from cifar10net.pb import classifier_pb2 as pb
from cifar10net.protocol import IMAGE_BYTES, IMAGE_SIDE, MAX_MESSAGE_BYTES
from cifar10net.resize import fitted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TypeGuard

    import numpy as np
    import numpy.typing as npt
    from google.protobuf.message import Message

    from cifar10net.config import ClientConfig

ImageLike: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]"
"""A path to an image file, its bytes, a Pillow image, or an array uint8 (height, width, 3)."""

T = TypeVar("T")
_PACKED_AXES = 4  # n, height, width, channels
_LARGEST_IMAGE_BYTES = MAX_MESSAGE_BYTES - (1 << 20)
_IMAGE_MESSAGE_BYTES = 16  # tags and lengths around an image's bytes, rounded up


@dataclass(frozen=True)
class ClassScore:
    """One class and its probability, 0 to 1."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class ImageResult:
    """The answer to one image: classes, best first, or an error."""

    classes: tuple[ClassScore, ...]
    error: ImageError | None
    model: str
    version: str
    """Both empty for an image that could not be sent."""

    @property
    def best(self) -> ClassScore:
        """The most likely class. Raises ``error`` if the image has one."""
        if self.error is not None:
            raise self.error
        return self.classes[0]


@dataclass(frozen=True)
class ModelDescription:
    """One model version that a server answers for; ``Model`` in the proto."""

    name: str
    version: str
    labels: tuple[str, ...]
    provider: str
    is_default: bool
    metadata: dict[str, str]


@dataclass(frozen=True)
class VersionState:
    """State of one version in a server's repository; ``VersionState`` in the proto."""

    name: str
    version: str
    state: str
    """READY, LOADING, UNLOADING or UNAVAILABLE."""
    reason: str


@dataclass(frozen=True)
class Chunk:
    """Consecutive images of a list, for one call."""

    size: int
    """Images of the list, those with an error included."""
    images: tuple[pb.Image, ...] = ()
    packed_pixels: bytes = b""
    errors: Mapping[int, ImageError] = field(default_factory=dict)
    """By position in the chunk; images that cannot be sent."""

    @property
    def is_sendable(self) -> bool:
        """Whether there is anything to send."""
        return bool(self.images or self.packed_pixels)

    def results(self, response: pb.ClassifyResponse | None) -> list[ImageResult]:
        """Merge the response with the errors, in the order of the list.

        Raises:
            ClientError: the response has more or fewer results than images were sent.
        """
        response = response or pb.ClassifyResponse()
        sent = self.size - len(self.errors)
        if len(response.results) != sent:
            raise protocol_error(f"the server answered {len(response.results)} of {sent} images")
        answers = (result_of(response, index, result) for index, result in enumerate(response.results))
        return [
            failed(self.errors[index]) if index in self.errors else next(answers)
            for index in range(self.size)
        ]


def chunks(images: Iterable[ImageLike], config: ClientConfig) -> Iterator[Chunk]:
    """Read images one by one and group them into chunks of bounded size.

    Raises:
        TypeError: an item is not an image; the message has its index.
        ValueError: an array is not uint8 (height, width, 3), or (n, 32, 32, 3) for all images.
    """
    check_list(images)
    if is_array(images):
        yield from _packed_chunks(images, config)
        return
    messages: list[pb.Image] = []
    errors: dict[int, ImageError] = {}
    size = size_bytes = 0
    for index, image in enumerate(images):
        try:
            message = to_message(image, index)
        except ImageError as error:
            errors[size] = error.with_traceback(None)  # whose frames hold the image
            size += 1
            continue
        cost = image_cost(message)
        if messages and (len(messages) == config.call_images or size_bytes + cost > config.call_bytes):
            yield Chunk(size, tuple(messages), errors=errors)
            messages, errors, size, size_bytes = [], {}, 0, 0
        messages.append(message)
        size += 1
        size_bytes += cost
    if size:
        yield Chunk(size, tuple(messages), errors=errors)


def check_list(images: object) -> None:
    """Raise TypeError for a single image, ValueError for a batch array of the wrong dtype or shape."""
    if is_array(images) and images.ndim == _PACKED_AXES:
        if images.dtype != "uint8" or images.shape[1:] != (IMAGE_SIDE, IMAGE_SIDE, 3):
            raise ValueError(f"images is an array {images.dtype} {images.shape}, wanted uint8 (n, 32, 32, 3)")
    elif isinstance(images, str | bytes | os.PathLike | Image.Image) or is_array(images):
        raise TypeError(f"images is one {type(images).__name__}, wanted a list of images")


def _packed_chunks(images: npt.NDArray[np.uint8], config: ClientConfig) -> Iterator[Chunk]:
    step = max(1, min(config.call_images, config.call_bytes // IMAGE_BYTES))
    for start in range(0, len(images), step):
        rows = images[start : start + step]
        yield Chunk(len(rows), packed_pixels=rows.tobytes())


def to_dataclass(message: Message, kind: type[T]) -> T:
    """Copy a message to a dataclass with the same field names; nested messages become dataclasses, too."""
    hints = get_type_hints(kind)
    return kind(**{name: _to_plain(getattr(message, name), hint) for name, hint in hints.items()})


def _to_plain(value: Any, hint: Any) -> Any:  # noqa: ANN401
    if is_dataclass(hint):
        return to_dataclass(value, cast("type[Any]", hint))
    if get_origin(hint) is tuple:
        return tuple(_to_plain(each, get_args(hint)[0]) for each in value)
    return dict(value) if get_origin(hint) is dict else value


def is_array(images: object) -> TypeGuard[npt.NDArray[np.uint8]]:
    """Whether this is a NumPy array; without importing NumPy, which clients may lack."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(images, numpy.ndarray)


def image_cost(image: pb.Image) -> int:
    """Return the image's bytes in a request, rounded up."""
    return len(image.encoded) + len(image.pixels) + _IMAGE_MESSAGE_BYTES


def to_message(image: ImageLike, index: int) -> pb.Image:
    """Convert an image to a message.

    Raises:
        ImageError: a file cannot be read, a Pillow image cannot be decoded, or the file exceeds a message.
        TypeError, ValueError: it is not an image; the message has ``index``.
    """
    if isinstance(image, bytes):
        _check_size(len(image))
        return pb.Image(encoded=image)
    if isinstance(image, str | os.PathLike):
        return _read(Path(image))
    if is_array(image):
        return pb.Image(pixels=_array_pixels(image, index))
    if isinstance(image, Image.Image):
        return _fitted(image)
    raise TypeError(
        f"images[{index}] is a {type(image).__name__}, wanted a path, bytes, a Pillow image or a NumPy array"
    )


def _read(path: Path) -> pb.Image:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ImageError(ImageErrorCode.UNREADABLE_FILE, "cannot be read: it is not a regular file")
        _check_size(path.stat().st_size)
        return pb.Image(encoded=path.read_bytes())
    except OSError as error:
        raise ImageError(
            ImageErrorCode.UNREADABLE_FILE, f"cannot be read: {error.strerror or error}"
        ) from error


def _check_size(size: int) -> None:
    """Raise ImageError for a file that exceeds a message and would fail its whole call.

    Servers refuse files above 16 MiB, unless started with another limit.
    """
    if size > _LARGEST_IMAGE_BYTES:
        raise ImageError(
            ImageErrorCode.TOO_LARGE,
            f"has {size:,} bytes, wanted at most {_LARGEST_IMAGE_BYTES:,}; send it smaller",
        )


def _array_pixels(image: npt.NDArray[np.uint8], index: int) -> bytes:
    if image.dtype != "uint8" or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:  # noqa: PLR2004 - axes, channels
        raise ValueError(
            f"images[{index}] is an array {image.dtype} {image.shape}, wanted uint8 (height, width, 3) RGB"
        )
    if image.shape[:2] == (IMAGE_SIDE, IMAGE_SIDE):
        return image.tobytes()
    return fitted(Image.fromarray(image)).tobytes()


def _fitted(image: Image.Image) -> pb.Image:
    """Resize a decoded image as the server would, rather than encode and send it in full size."""
    try:
        # A copy, since fitted() calls draft(), which changes the image.
        return pb.Image(pixels=fitted(image.copy()).tobytes())
    except Exception as error:  # a lazily opened file can raise anything
        raise ImageError(ImageErrorCode.CORRUPT, f"cannot be decoded: {error}") from error


def failed(error: ImageError) -> ImageResult:
    """Return the result of an image that could not be sent."""
    return ImageResult((), error, "", "")


def result_of(response: pb.ClassifyResponse, index: int, result: pb.ImageResult) -> ImageResult:
    """Convert the result of a response's image ``index``."""
    error = None
    if result.WhichOneof("outcome") is None:
        error = ImageError(ImageErrorCode.UNSPECIFIED, "got neither classes nor an error from the server")
    elif result.WhichOneof("outcome") == "error":
        # The index counts within the call; the caller has its own.
        message = result.error.message.removeprefix(f"images[{index}] ")
        error = ImageError(_error_code(result.error.code), message)
    classes = tuple(
        ClassScore(score.index, score.label, score.probability) for score in result.prediction.classes
    )
    return ImageResult(classes, error, response.model, response.version)


def _error_code(number: int) -> ImageErrorCode:
    """Return the code, or UNSPECIFIED for one of a newer server."""
    try:
        return ImageErrorCode(number)
    except ValueError:
        return ImageErrorCode.UNSPECIFIED


def protocol_error(what: str) -> ClientError:
    """Return the error for a response that violates the proto."""
    return ClientError(grpc.StatusCode.INTERNAL, f"{what}, which violates classifier.proto")
