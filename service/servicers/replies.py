"""The bytes of a ClassifyResponse, put together from parts that are encoded once.

In: probabilities (n, classes) and errors. Out: the same bytes' meaning as the protobuf library gives, a
fraction of its time: of a prediction, only the floats and two lengths are not known beforehand.
It rests on what protobuf promises: a message's encoding is its fields' in any order, one behind the other.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from cifar10net.pb import classifier_pb2 as pb
from service.runtime.model import likeliest

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from cifar10net.errors import ImageError, ImageErrorCode
    from service.runtime.model import ModelInfo

_LENGTH_DELIMITED = 2
_SMALL = 0x80
_FLOAT = struct.Struct("<f")
_FOUR_BYTES = struct.Struct("4s")
_RESULTS = pb.ClassifyResponse.DESCRIPTOR.fields_by_name["results"].number
_PREDICTION = pb.ImageResult.DESCRIPTOR.fields_by_name["prediction"].number
_CLASSES = pb.Prediction.DESCRIPTOR.fields_by_name["classes"].number


def field(number: int, content: bytes) -> bytes:
    """Encode a field that holds a message, text or bytes."""
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(len(content)) + content


def varint(value: int) -> bytes:
    """Encode a number that is not negative."""
    if value < _SMALL:
        return bytes((value,))
    encoded = bytearray()
    while value >= _SMALL:
        encoded.append(value & (_SMALL - 1) | _SMALL)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


class ReplyWriter:
    """Writes the responses of one model."""

    def __init__(self, info: ModelInfo) -> None:
        """Encode what all responses of the model share."""
        self._head = pb.ClassifyResponse(model=info.name, version=str(info.version)).SerializeToString()
        self._classes = [_class_but_probability(index, label) for index, label in enumerate(info.labels)]
        self._class_bytes = np.array([len(content) + _FLOAT.size for content in self._classes])
        self._result_heads: dict[int, bytes] = {}

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
        if n == 1 and not errors:
            return self._head + self._one(answers[0].tolist(), top_k)
        parts = self._parts(answers, top_k)
        if not errors:
            return self._head + b"".join(parts)
        step = len(parts) // max(1, len(answers))
        predictions = (b"".join(parts[start : start + step]) for start in range(0, len(parts), step or 1))
        results = (
            _error(index, errors[index]) if index in errors else next(predictions) for index in range(n)
        )
        return self._head + b"".join(results)

    def _parts(self, answers: npt.NDArray[np.float32], top_k: int) -> list[bytes]:
        """All results, each as so many parts: its head, then of each class its name and its probability."""
        order, floats = _ranked(answers, top_k)
        rows, ranks = order.shape
        step = 1 + 2 * ranks
        parts = [b""] * (rows * step)
        sizes = self._class_bytes[order].sum(axis=1).tolist()
        parts[::step] = [self._result_head(size) for size in sizes]
        for rank in range(ranks):
            parts[1 + 2 * rank :: step] = [self._classes[label] for label in order[:, rank].tolist()]
            parts[2 + 2 * rank :: step] = floats[rank::ranks]
        return parts

    def _one(self, row: list[float], top_k: int) -> bytes:
        """The result of a single image, without NumPy, whose fixed costs would be most of it."""
        prediction = b""
        for label in sorted(range(len(row)), key=row.__getitem__, reverse=True)[:top_k]:
            prediction += self._classes[label] + _FLOAT.pack(row[label])
        return self._result_head(len(prediction)) + prediction

    def _result_head(self, size: int) -> bytes:
        """The bytes before a prediction of some size."""
        head = self._result_heads.get(size)
        if head is None:
            inner = varint(_PREDICTION << 3 | _LENGTH_DELIMITED) + varint(size)
            head = varint(_RESULTS << 3 | _LENGTH_DELIMITED) + varint(len(inner) + size) + inner
            self._result_heads[size] = head
        return head


def _ranked(answers: npt.NDArray[np.float32], top_k: int) -> tuple[npt.NDArray[np.intp], list[bytes]]:
    """Of each row the ``top_k`` most likely classes, equal ones by index; and the bytes of their floats."""
    order = likeliest(answers, top_k)
    best = answers[np.arange(len(answers))[:, np.newaxis], order].astype("<f4", copy=False)
    return order, [probability for (probability,) in _FOUR_BYTES.iter_unpack(best.tobytes())]


def _class_but_probability(index: int, label: str) -> bytes:
    """Encode a field ``classes`` of Prediction up to its last four bytes, the probability."""
    score = pb.ClassScore(index=index, label=label, probability=1.0).SerializeToString()
    return field(_CLASSES, score)[: -_FLOAT.size]


def _error(index: int, error: ImageError) -> bytes:
    message = f"images[{index}] {error.message}"
    result = pb.ImageResult(error=pb.ImageError(code=_wire_code(error.code), message=message))
    return pb.ClassifyResponse(results=[result]).SerializeToString()


def _wire_code(code: ImageErrorCode) -> pb.ImageError.Code.ValueType:
    return pb.ImageError.Code.Value(f"CODE_{code.name}")
