"""Check the input tensor of a ModelInferRequest and read its images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cifar10net.protocol import IMAGE_BYTES, IMAGE_SIDE
from service.errors import InvalidRequestError
from service.servicers.inference.requests import MOST_CONTENTS_IMAGES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cifar10net.pb import inference_pb2 as pb
    from service.batching.queue import Images
    from service.runtime.model import ModelInfo
    from service.servicers.inference.regions import RegionSlice

DATATYPE = "UINT8"
IMAGE_SHAPE = (IMAGE_SIDE, IMAGE_SIDE, 3)
_LONGEST_NAME = 100
_LARGEST_VALUE = 255


def count_images(request: pb.ModelInferRequest, info: ModelInfo, max_images: int) -> int:
    """Check the name, datatype and shape of a request's tensor; return the number of its images.

    Raises:
        InvalidRequestError: it is not the model's input, or has more than ``max_images``.
    """
    names = [tensor.name for tensor in request.inputs]
    if names != [info.input_name]:
        raise InvalidRequestError(
            f"the request has {_format_inputs(names)}, expected {info.input_name!r} alone, the one input of "
            f"model {info.name}"
        )
    tensor = request.inputs[0]
    if tensor.datatype != DATATYPE:
        raise InvalidRequestError(
            f"input {tensor.name} has datatype {tensor.datatype[:_LONGEST_NAME]!r}, expected {DATATYPE!r}: "
            "the pixels as they are, 0 to 255"
        )
    shape = tuple(tensor.shape)
    if len(shape) != 1 + len(IMAGE_SHAPE) or shape[1:] != IMAGE_SHAPE or not 1 <= shape[0] <= max_images:
        raise InvalidRequestError(
            f"input {tensor.name} has shape {_format_shape(shape)}, expected [n,{IMAGE_SIDE},{IMAGE_SIDE},3] "
            f"and n from 1 to {max_images:,}"
        )
    return int(shape[0])


def read_images(request: pb.ModelInferRequest, n: int, memory: RegionSlice | None) -> Images:
    """Read the values of a checked request's tensor.

    Args:
        request: checked by ``count_images``.
        n: how many images it has.
        memory: where the values are, if they are in shared memory.

    Returns:
        uint8 (n, 32, 32, 3).

    Raises:
        InvalidRequestError: the values are in no place or in several, or their number is wrong.
        UnknownRegionError: the region of shared memory has been unregistered.
    """
    tensor, raw = request.inputs[0], request.raw_input_contents
    has_contents = tensor.HasField("contents")
    places = {
        "raw_input_contents": bool(raw),
        "contents": has_contents,
        "shared memory": memory is not None,
    }
    used = [place for place, is_used in places.items() if is_used]
    if len(used) != 1 or len(raw) > 1:
        got = f"{len(raw)} entries of raw_input_contents" if len(raw) > 1 else " and ".join(used) or "none"
        raise InvalidRequestError(
            f"input {tensor.name} must have its values in one of {', '.join(places)}; the request has {got}"
        )
    wanted = n * IMAGE_BYTES
    if has_contents:
        data = _from_contents(tensor, wanted)
    elif memory is not None:
        _check_size(f"input {tensor.name} in shared memory", memory.size, wanted, tensor.shape)
        data = memory.read()
    else:
        data = raw[0]
        _check_size("raw_input_contents[0]", len(data), wanted, tensor.shape)
    return np.frombuffer(data, np.uint8).reshape(n, *IMAGE_SHAPE)


def _from_contents(tensor: pb.ModelInferRequest.InferInputTensor, wanted: int) -> bytes:
    contents = tensor.contents
    given = [field.name for field, _ in contents.ListFields()]
    if given != ["uint_contents"]:
        raise InvalidRequestError(
            f"input {tensor.name} has {' and '.join(given) or 'empty contents'}, expected uint_contents for "
            f"datatype {DATATYPE}, or raw_input_contents"
        )
    if wanted > MOST_CONTENTS_IMAGES * IMAGE_BYTES:
        raise InvalidRequestError(
            f"input {tensor.name} has {tensor.shape[0]:,} images in contents, expected at most "
            f"{MOST_CONTENTS_IMAGES}; send more in raw_input_contents"
        )
    if len(contents.uint_contents) != wanted:
        raise InvalidRequestError(
            f"input {tensor.name} has {len(contents.uint_contents):,} uint_contents, expected {wanted:,} for "
            f"shape {_format_shape(tensor.shape)}"
        )
    try:
        return bytes(contents.uint_contents)
    except ValueError as error:
        largest = max(contents.uint_contents)
        raise InvalidRequestError(
            f"input {tensor.name} has {largest} among its uint_contents, expected 0 to {_LARGEST_VALUE}"
        ) from error


def _check_size(what: str, size: int, wanted: int, shape: Iterable[int]) -> None:
    if size != wanted:
        raise InvalidRequestError(
            f"{what} has {size:,} bytes, expected {wanted:,} for shape {_format_shape(shape)}"
        )


def _format_inputs(names: list[str]) -> str:
    if not names:
        return "no input"
    shown = ", ".join(repr(name[:_LONGEST_NAME]) for name in names[:4])
    return f"{len(names)} inputs: {shown}{', ...' if len(names) > 4 else ''}"  # noqa: PLR2004 - as shown


def _format_shape(shape: Iterable[int]) -> str:
    sizes = list(shape)
    return f"[{','.join(map(str, sizes[:8]))}{',...' if len(sizes) > 8 else ''}]"  # noqa: PLR2004 - as shown
