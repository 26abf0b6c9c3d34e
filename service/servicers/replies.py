"""The bytes of a ClassifyResponse, put together from parts that are encoded once.

In: probabilities (n, classes) and errors. Out: the same bytes' meaning as the protobuf library gives, a
third of its time for 64 images: of a prediction, only the floats and two lengths are not known beforehand.
It rests on what protobuf promises: a message's encoding is its fields' in any order, one behind the other.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from service.pb import classifier_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from service.errors import ImageError, ImageErrorCode
    from service.model import ModelInfo

_FLOAT_BYTES = 4
_LENGTH_DELIMITED = 2
_SMALL = 0x80
_LITTLE_ENDIAN_FLOAT = struct.Struct("<f")
_RESULTS = pb.ClassifyResponse.DESCRIPTOR.fields_by_name["results"].number
_PREDICTION = pb.ImageResult.DESCRIPTOR.fields_by_name["prediction"].number
_CLASSES = pb.Prediction.DESCRIPTOR.fields_by_name["classes"].number


def field(number: int, content: bytes) -> bytes:
    """Encode a field that holds a message, text or bytes."""
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


class ReplyWriter:
    """Writes the responses of one model."""

    def __init__(self, info: ModelInfo) -> None:
        """Encode what all responses of the model share."""
        self._head = pb.ClassifyResponse(model=info.name, version=str(info.version)).SerializeToString()
        self._classes = [_class_but_probability(index, label) for index, label in enumerate(info.labels)]
        self._result_tag = _varint(_RESULTS << 3 | _LENGTH_DELIMITED)
        self._prediction_tag = _varint(_PREDICTION << 3 | _LENGTH_DELIMITED)

    def write(
        self, answers: npt.NDArray[np.float32], errors: Mapping[int, ImageError], n: int, top_k: int
    ) -> bytes:
        """Encode the response to ``n`` images.

        Args:
            answers: float32 (n - number of errors, classes): a row for each image without an error.
            errors: by position among the ``n``.
            n: how many images there were.
            top_k: how many classes are wanted of each.
        """
        predictions = iter(self._predictions(answers, top_k))
        if not errors:
            return self._head + b"".join(predictions)
        results = (
            _error(index, errors[index]) if index in errors else next(predictions) for index in range(n)
        )
        return self._head + b"".join(results)

    def _predictions(self, answers: npt.NDArray[np.float32], top_k: int) -> list[bytes]:
        classes = self._classes
        results = []
        for order, probabilities in zip(*_ranked(answers, top_k), strict=True):
            prediction = b""
            for rank, label in enumerate(order):
                start = rank * _FLOAT_BYTES
                prediction += classes[label] + probabilities[start : start + _FLOAT_BYTES]
            size = _varint(len(prediction))
            prediction = self._prediction_tag + size + prediction
            results.append(self._result_tag + _varint(len(prediction)) + prediction)
        return results


def _ranked(answers: npt.NDArray[np.float32], top_k: int) -> tuple[list[list[int]], list[bytes]]:
    """Of each row the ``top_k`` most likely classes, equal ones by index, and their float32 bytes."""
    if len(answers) == 1:  # NumPy's fixed costs are most of a single image's
        row = answers[0].tolist()
        order = sorted(range(len(row)), key=row.__getitem__, reverse=True)[:top_k]
        return [order], [b"".join(_LITTLE_ENDIAN_FLOAT.pack(row[label]) for label in order)]
    orders = (-answers).argsort(axis=1, kind="stable")[:, :top_k]
    best = np.take_along_axis(answers, orders, axis=1).astype("<f4", copy=False)
    size = best.shape[1] * _FLOAT_BYTES
    content = best.tobytes()
    return orders.tolist(), [content[start : start + size] for start in range(0, len(content), size or 1)]


def _class_but_probability(index: int, label: str) -> bytes:
    """Encode a field ``classes`` of Prediction up to its last four bytes, the probability."""
    score = pb.ClassScore(index=index, label=label, probability=1.0).SerializeToString()
    return field(_CLASSES, score)[:-_FLOAT_BYTES]


def _error(index: int, error: ImageError) -> bytes:
    message = f"images[{index}] {error.message}"
    result = pb.ImageResult(error=pb.ImageError(code=_wire_code(error.code), message=message))
    return pb.ClassifyResponse(results=[result]).SerializeToString()


def _wire_code(code: ImageErrorCode) -> pb.ImageError.Code.ValueType:
    return pb.ImageError.Code.Value(f"CODE_{code.name}")


def _varint(value: int) -> bytes:
    if value < _SMALL:
        return bytes((value,))
    encoded = bytearray()
    while value >= _SMALL:
        encoded.append(value & (_SMALL - 1) | _SMALL)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
